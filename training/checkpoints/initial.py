"""Start weights for training: those of another checkpoint, ours or published, or of several."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints.fit import check_fit
from nuhtc.training.checkpoints.open import CheckpointFile, check_preset
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset

CLASS_TENSORS = re.compile(r"stages\.\d+\.classifier\.(weight|bias)")
"""Names of the tensors whose first dimension is the number of classes and 2 more."""


def initialise(
    network: NuHTC,
    files: Sequence[CheckpointFile],
    preset: Preset,
    fresh_modules: Sequence[str] = (),
) -> tuple[str, ...]:
    """Load the weights of a checkpoint into a network, all but those of other classes.

    Of several checkpoints it gets the mean (Wortsman et al., Model soups, 2022), which is of use
    where one was trained from another or both from a third.

    Parameters
    ----------
    network
        With fresh weights; changed in place.
    files
        Checkpoints of nuhtc-train, or published ``.pth`` files; one at least.
    preset
        The network's.
    fresh_modules
        Of :data:`nuhtc.training.network.nuhtc.PARTS`: those that keep their fresh weights, whatever
        the files have of them.

    Returns
    -------
    tuple of str
        Tensors that keep their fresh weights because the files do not fit: the classifiers',
        where they have another number of classes, else none.

    Raises
    ------
    CheckpointError
        A file cannot be read, is for another preset, has another number of classes than the
        first, or a tensor is missing, unknown, of another shape or not finite; the message lists
        them.
    """
    read = [_weights(network, file, preset, fresh_modules) for file in files]
    _, fresh = read[0]
    for file, (_, other) in zip(files, read, strict=True):
        if other != fresh:
            raise CheckpointError(
                f"{file.path}: has another number of classes than {files[0].path}"
            )
    every = [weights for weights, _ in read]
    mean = {name: _mean([weights[name] for weights in every]) for name in every[0]}
    network.load_state_dict({**network.state_dict(), **mean})
    return fresh


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean; of whole numbers, which only count batches, the last."""
    if len(tensors) == 1 or not tensors[0].is_floating_point():
        return tensors[-1]
    return torch.stack(tensors).mean(dim=0)


def _weights(
    network: NuHTC, file: CheckpointFile, preset: Preset, fresh_modules: Sequence[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return what a file has for the network, and what stays fresh as the file does not fit."""
    check_preset(file.path, file.preset, preset.name)
    weights = {
        name: tensor for name, tensor in file.weights.items() if _part(name) not in fresh_modules
    }
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
    check_fit(file.path, weights, shapes, file.naming)
    return {name: weights[name] for name in wanted if name not in fresh}, tuple(fresh)


def _part(name: str) -> str:
    """Return the part of the network that a tensor belongs to."""
    return name.partition(".")[0]
