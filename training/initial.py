"""Start weights for training: those of another checkpoint, ours or published."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nuhtc.training import checkpoint
from nuhtc.training.any_checkpoint import check_preset, is_ours
from nuhtc.training.fit import check_fit
from nuhtc.training.network import NuHTC
from nuhtc.training.presets import Preset
from nuhtc.training.published import PRESET, published_name, read_published

CLASS_TENSORS = re.compile(r"stages\.\d+\.classifier\.(weight|bias)")
"""Names of the tensors whose first dimension is the number of classes and 2 more."""


def initialise(
    network: NuHTC, path: Path, preset: Preset, fresh_modules: Sequence[str] = ()
) -> tuple[str, ...]:
    """Give a network the weights of a checkpoint, all but those of other classes.

    Parameters
    ----------
    network
        With fresh weights; changed in place.
    path
        A checkpoint of nuhtc-train, or a published ``.pth``.
    preset
        The network's.
    fresh_modules
        Of :data:`nuhtc.training.network.PARTS`: those that keep their fresh weights, whatever
        the file has of them.

    Returns
    -------
    tuple of str
        Tensors that keep their fresh weights because the file does not fit: the classifiers',
        where it has another number of classes, else none.

    Raises
    ------
    CheckpointError
        The file cannot be read, is for another preset, or a tensor is missing, unknown, of
        another shape or not finite; the message lists them.
    """
    naming: Callable[[str], str] = str
    if is_ours(path):
        info, content = checkpoint.read(path)
        weights, found = content["state_dict"], info.preset
    else:
        weights, found, naming = read_published(path).weights, PRESET.name, published_name
    check_preset(path, found, preset.name)
    weights = {name: tensor for name, tensor in weights.items() if _part(name) not in fresh_modules}
    wanted = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if _part(name) not in fresh_modules
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    fresh = [name for name in wanted if CLASS_TENSORS.fullmatch(name)]
    sizes = [len(weights[name]) for name in fresh if name in weights and weights[name].ndim]
    if not sizes or sizes[0] == network.classes + 2:
        fresh = []
    shapes.update({name: (sizes[0], *shapes[name][1:]) for name in fresh})
    check_fit(path, weights, shapes, naming)
    network.load_state_dict(
        {**network.state_dict(), **weights, **{name: wanted[name] for name in fresh}}
    )
    return tuple(fresh)


def _part(name: str) -> str:
    """The part of the network that a tensor belongs to."""
    return name.partition(".")[0]
