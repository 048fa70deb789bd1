"""The network in PyTorch as an engine's graphs: the same cascade as every bundle's."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nuhtc.runtime.bundle.card import Card, NucleusClass
from nuhtc.runtime.engines.cascade import CascadeEngine
from nuhtc.runtime.engines.graphs import Trunk
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset, card_of


class TorchGraphs:
    """A network's trunk, heads and masks; features stay tensors on its device.

    Parameters
    ----------
    network
        In evaluation mode.
    preset
        What it is: how many RPN boxes of a level the trunk gives, for a tile of which size.
    """

    name = "pytorch"

    def __init__(self, network: NuHTC, preset: Preset) -> None:
        self._network, self._preset = network, preset
        self._device = network.mean.device

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk; see ``nuhtc.runtime.engines.graphs.Graphs.trunk``."""
        network, preset = self._network, self._preset
        with torch.no_grad():
            output = network.trunk(network.prepare(torch.from_numpy(tiles).to(self._device)))
            # The count is for a tile of the preset's size; larger tiles give more, by area.
            share = max(1, tiles.shape[1] * tiles.shape[2] // preset.tile**2)
            boxes, scores, levels = network.rpn.candidates(
                [x.float() for x in output.rpn_logits],
                [x.float() for x in output.rpn_deltas],
                preset.proposals_per_level * share,
            )
        return Trunk(
            output.features,
            _array(boxes),
            _array(scores),
            levels.cpu().numpy().astype(np.int64),
            np.ascontiguousarray(_array(output.foreground[:, 0])),
        )

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the box stages; see ``Graphs.heads``."""
        with torch.no_grad():
            boxes, probabilities = self._network.heads(
                cast(Features, features), self._with_tile(regions, region_tile)
            )
        return _array(boxes), _array(probabilities)

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the mask stages; see ``Graphs.masks``."""
        with torch.no_grad():
            logits = self._network.masks(
                cast(Features, features), self._with_tile(regions, region_tile)
            )
            return _array(logits.float().sigmoid())

    def _with_tile(self, regions: NDArray[np.float32], region_tile: NDArray[np.int64]) -> Tensor:
        rows = np.concatenate([region_tile.astype(np.float32)[:, None], regions], axis=1)
        return torch.from_numpy(rows).to(self._device)


def torch_engine(
    network: NuHTC, preset: Preset, card: Card | tuple[NucleusClass, ...] = ()
) -> CascadeEngine:
    """Return the network in PyTorch as an engine of the runtime.

    Parameters
    ----------
    network
        In evaluation mode.
    preset
        What it is.
    card
        Thresholds and classes; classes alone take the preset's thresholds, and where none are
        given they are numbered.
    """
    if not isinstance(card, Card):
        numbered = tuple(NucleusClass(str(i), (0, 0, 0)) for i in range(network.classes))
        card = card_of(preset, card or numbered)
    return CascadeEngine(card, TorchGraphs(network, preset), "fp32", "named")


def _array(values: Tensor) -> NDArray[np.float32]:
    return cast(NDArray[np.float32], values.float().cpu().numpy())
