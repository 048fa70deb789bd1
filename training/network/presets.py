"""Presets: the networks by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from nuhtc.training.loop.recipe import LITE0_RECIPE, PUBLISHED_RECIPE, Recipe
from nuhtc.training.network.backbone import EfficientNetLite0
from nuhtc.training.network.nuhtc import NetworkSettings, NuHTC
from nuhtc.training.network.swin import SwinTransformer
from nuhtc.training.objective.objective import ObjectiveSettings


@dataclass(frozen=True)
class InferenceSettings:
    """How the network's answers become nuclei; all lengths in network-input pixels."""

    proposals_per_level: int = 3000
    """Best boxes of each RPN level that are looked at."""
    proposals: int = 1000
    """Boxes kept over all levels."""
    proposal_min_side: float = 10.0
    """Boxes with a side of this or less are dropped."""
    proposal_score: float = 0.0
    """Least score of an RPN box."""
    proposal_nms: float = 0.7
    watershed_opening: int = 2
    """Erosions, then as many dilations, of the foreground by a 5x5 square."""
    score: float = 0.35
    nms: float = 0.5
    nms_per_class: bool = True
    """As published; False lets a nucleus have one class only."""
    max_detections: int = 500
    """Best detections of a tile."""
    mask_threshold: float = 0.5
    object_temperature: float = 1.0
    """Divides the logit of being a nucleus; see :mod:`nuhtc.runtime.engines.calibration`."""
    object_bias: float = 0.0
    """Added to that logit afterwards."""
    class_temperature: float = 1.0
    """Divides the classes' logits."""


@dataclass(frozen=True)
class Preset:
    """A network and how it is used."""

    name: str
    mpp: float
    """um per pixel of the tiles."""
    tile: int
    """Side of a tile in pixels."""
    network: NetworkSettings
    inference: InferenceSettings
    objective: ObjectiveSettings
    recipe: Recipe
    backbone: Callable[[], nn.Module]

    def build(self, classes: int) -> NuHTC:
        """Make the network with fresh weights for this many classes."""
        return NuHTC(self.backbone(), classes, self.network)

    def at_network_scale(self, side: int | None) -> "Preset":
        """The same network for tiles that need no enlarging; weights fit both.

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
    inference=InferenceSettings(
        proposals_per_level=800,
        proposals=400,
        proposal_min_side=5.0,
        watershed_opening=1,
        # Best on the held-out pictures of CoNSeP, MoNuSeg and TNBC together; see docs/model.md.
        proposal_score=0.95,
        score=0.17,
        nms=0.4,
        nms_per_class=False,
    ),
    # Fewer samples than published: a tile that is trained on has a quarter of the cells.
    objective=ObjectiveSettings(
        rpn_samples=256,
        anchors_inside=False,
        proposals_per_level=500,
        proposals=500,
        proposal_min_side=0.0,
        watershed_opening=1,
        watershed_draws=None,
        stage_low_quality=False,
        stage_samples=256,
        class_mean_over_all=False,
        mask_samples=32,
        mask_weight=1.0,
    ),
    recipe=LITE0_RECIPE,
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
    inference=InferenceSettings(),
    objective=ObjectiveSettings(),
    recipe=PUBLISHED_RECIPE,
    backbone=SwinTransformer,
)
"""The network as published (Li et al. 2025), for its checkpoints and for GPUs."""

PRESETS = {preset.name: preset for preset in (LITE0, SWIN_T)}
