"""Start weights for training: those of another checkpoint, ours or published."""

import re
from collections.abc import Callable
from pathlib import Path

from nuhtc.training import checkpoint
from nuhtc.training.any_checkpoint import check_preset, is_ours
from nuhtc.training.fit import check_fit
from nuhtc.training.network import NuHTC
from nuhtc.training.presets import Preset
from nuhtc.training.published import PRESET, published_name, read_published

CLASS_TENSORS = re.compile(r"stages\.\d+\.classifier\.(weight|bias)")
"""Names of the tensors whose first dimension is the number of classes and 2 more."""


def initialise(network: NuHTC, path: Path, preset: Preset) -> tuple[str, ...]:
    """Give a network the weights of a checkpoint, all but those of other classes.

    Parameters
    ----------
    network
        With fresh weights; changed in place.
    path
        A checkpoint of nuhtc-train, or a published ``.pth``.
    preset
        The network's.

    Returns
    -------
    tuple of str
        Tensors that keep their fresh weights: the classifiers', where the file has another
        number of classes, else none.

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
    wanted = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    fresh = [name for name in wanted if CLASS_TENSORS.fullmatch(name)]
    sizes = [len(weights[name]) for name in fresh if name in weights and weights[name].ndim]
    if not sizes or sizes[0] == network.classes + 2:
        fresh = []
    shapes.update({name: (sizes[0], *shapes[name][1:]) for name in fresh})
    check_fit(path, weights, shapes, naming)
    network.load_state_dict({**weights, **{name: wanted[name] for name in fresh}})
    return tuple(fresh)
