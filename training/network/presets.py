"""Presets: the networks by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import nn

from nuhtc.runtime.bundle.card import (
    Card,
    DataSource,
    DetectionSettings,
    FileDigest,
    GraphSet,
    NucleusClass,
    ProposalSettings,
)
from nuhtc.training.network.backbone import EfficientNetLite0
from nuhtc.training.network.nuhtc import NetworkSettings, NuHTC
from nuhtc.training.network.resize import tile_multiple
from nuhtc.training.network.swin import SwinTransformer


@dataclass(frozen=True)
class Preset:
    """A network and how it is used."""

    name: str
    mpp: float
    """um per pixel of the tiles."""
    tile: int
    """Side of a tile in pixels."""
    network: NetworkSettings
    proposals_per_level: int
    """Best boxes of each RPN level that the trunk gives for a tile of this size."""
    proposals: ProposalSettings
    """How regions are chosen from them; lengths in network-input pixels."""
    detection: DetectionSettings
    backbone: Callable[[], nn.Module]

    def build(self, classes: int) -> NuHTC:
        """Make the network with fresh weights for this many classes."""
        return NuHTC(self.backbone(), classes, self.network)

    def at_network_scale(self, side: int | None) -> "Preset":
        """Return the same network for tiles that need no enlarging; weights fit both.

        Parameters
        ----------
        side
            Of the tiles, in network-input pixels; None leaves the preset as it is.
        """
        if side is None:
            return self
        mpp = self.mpp / self.network.input_scale
        return replace(self, mpp=mpp, tile=side, network=replace(self.network, input_scale=1.0))


LITE0 = Preset(
    name="lite0",
    mpp=0.25,
    tile=256,
    network=NetworkSettings(
        # A nucleus of 14 px is five cells wide on the finest map; unenlarged, three.
        input_scale=1.5,
        box_sampling=1,
        box_semantic_size=7,
        mask_sampling=1,
        enlarge8=True,
        hidden=128,
        # Half of the published branches' arithmetic and a quarter of it; see docs/model.md.
        semantic_convolutions=2,
        mask_convolutions=3,
        mask_width=32,
    ),
    proposals_per_level=800,
    proposals=ProposalSettings(
        count=400,
        min_side=5.0,
        nms=0.7,
        watershed_opening=1,
        # Best on the held-out pictures of CoNSeP, MoNuSeg and TNBC together; see docs/model.md.
        score=0.95,
    ),
    detection=DetectionSettings(
        score=0.17, nms=0.4, nms_per_class=False, count=500, mask_threshold=0.5
    ),
    backbone=EfficientNetLite0,
)
"""EfficientNet-Lite0 at 1.5 times the slide's scale: for laptops and CPU servers."""

SWIN_T = Preset(
    name="swin_t",
    mpp=0.25,
    tile=256,
    network=NetworkSettings(
        input_scale=2.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    ),
    proposals_per_level=3000,
    proposals=ProposalSettings(count=1000, min_side=10.0, nms=0.7, watershed_opening=2),
    detection=DetectionSettings(
        score=0.35, nms=0.5, nms_per_class=True, count=500, mask_threshold=0.5
    ),
    backbone=SwinTransformer,
)
"""The network as published (Li et al. 2025), for its checkpoints and for GPUs."""

PRESETS = {preset.name: preset for preset in (LITE0, SWIN_T)}

RESEARCH = "research use only, following from the licences of the training data"
UNKNOWN = "unknown, since the training data is not stated; ask whoever trained it"


def card_of(
    preset: Preset,
    classes: tuple[NucleusClass, ...],
    *,
    data: tuple[DataSource, ...] = (),
    metrics: Mapping[str, dict[str, float]] = MappingProxyType({}),
    precisions: Mapping[str, GraphSet] = MappingProxyType({}),
    files: Mapping[str, FileDigest] = MappingProxyType({}),
) -> Card:
    """Return the card of a preset's network.

    Parameters
    ----------
    preset
        Its um/px, tile, scale and thresholds.
    classes
        What it names, in the order of its outputs.
    data, metrics
        What it learned from, and how good it is.
    precisions, files
        Its graphs; none for a network in PyTorch.
    """
    stated = data and all(source.licence != "unknown" for source in data)
    return Card(
        name="-".join([preset.name, *(source.name.split()[0].lower() for source in data)]),
        preset=preset.name,
        classes=classes,
        mpp=preset.mpp,
        input_scale=preset.network.input_scale,
        tile=preset.tile,
        multiple=tile_multiple(preset.network.input_scale),
        mean=preset.network.mean,
        std=preset.network.std,
        precisions=dict(precisions),
        proposals=preset.proposals,
        detection=preset.detection,
        licence=RESEARCH if stated else UNKNOWN,
        data=data,
        metrics=dict(metrics),
        files=dict(files),
    )
