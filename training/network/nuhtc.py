"""The network: NuHTC (Li et al., Medical Image Analysis 103, 2025), put together.

::

    tiles -> backbone -> FPN -+-> RPN ---------------> proposals -+
                              +-> semantic -> watershed proposals -+-> regions
                              +-> hybrid features -----------------+-> box stages 1, 2, 3 -> mask

Three methods are three graphs when exported: :meth:`NuHTC.trunk` (tiles to features),
:meth:`NuHTC.heads` (regions to boxes and classes) and :meth:`NuHTC.masks` (boxes to
masks). What lies between them, non-maximum suppression and the watershed, is plain
array code in ``nuhtc.native``.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from nuhtc.training.network import boxes
from nuhtc.training.network.box_head import STAGE_STDS, BoxHead, class_scores
from nuhtc.training.network.hybrid import Features, HybridFeatures, similarity_summary
from nuhtc.training.network.mask_head import MaskHead
from nuhtc.training.network.pyramid import FeaturePyramid
from nuhtc.training.network.resize import enlarge
from nuhtc.training.network.rpn import AnchorSettings, RegionProposalHead
from nuhtc.training.network.semantic import SemanticBranch

PARTS = ("backbone", "pyramid", "rpn", "semantic", "stages", "mask")
"""The modules with weights, in the order of the picture above."""


class Backbone(Protocol):
    """Maps at strides 4, 8, 16, 32 with these channels."""

    channels: tuple[int, int, int, int]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Maps, finest first, of pictures (B, 3, H, W)."""


@dataclass(frozen=True)
class NetworkSettings:
    """What differs between presets besides the backbone."""

    input_scale: float = 1.0
    """Tiles are enlarged by this before the backbone, such as 1.25 or 2."""
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    """Subtracted from RGB, 0 to 255."""
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    """Divides RGB after the mean."""
    channels: int = 64
    """Channels of the pyramid and everything after it."""
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    box_sampling: int = 2
    """RoIAlign samples per bin side in the box branch."""
    box_semantic_size: int = 14
    """Side at which the semantic feature is cropped for the box branch (7 or 14)."""
    mask_sampling: int = 0
    """The same in the mask branch; 0 adapts to the region's size."""
    enlarge8: bool = False
    """Whether regions are cropped from one map of stride 4 that the map of stride 8 was added
    to; as published both are cropped."""
    hidden: int = 256
    """Width of the box heads' fully connected layers."""
    semantic_convolutions: int = 4
    mask_convolutions: int = 4
    mask_width: int | None = None
    """Channels inside the mask head; None for as many as everywhere, as published."""


class TrunkOutput(NamedTuple):
    """Everything that depends on the tile alone."""

    features: Features
    foreground: Tensor
    """float (B, 1, H/4, W/4), logits"""
    rpn_logits: list[Tensor]
    rpn_deltas: list[Tensor]


class NuHTC(nn.Module):
    """The hybrid task cascade for nuclei.

    Parameters
    ----------
    backbone
        See :class:`Backbone`.
    classes
        Number of classes, without background.
    settings
        Sizes and scales.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, classes: int, settings: NetworkSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.settings = settings
        self.classes = classes
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(1, 3, 1, 1), persistent=False)
        self.backbone = backbone
        self.pyramid = FeaturePyramid(cast("Backbone", backbone).channels, channels)
        self.rpn = RegionProposalHead(channels, settings.anchors)
        self.semantic = SemanticBranch(channels, convolutions=settings.semantic_convolutions)
        enlarge8 = settings.enlarge8
        self.box_features = HybridFeatures(
            7, settings.box_sampling, settings.box_semantic_size, enlarge8=enlarge8
        )
        self.mask_features = HybridFeatures(14, settings.mask_sampling, 14, enlarge8=enlarge8)
        self.stages = nn.ModuleList(
            BoxHead(channels, 7, settings.hidden, classes) for _ in range(3)
        )
        self.mask = MaskHead(channels, settings.mask_convolutions, settings.mask_width)

    def prepare(self, tiles: Tensor) -> Tensor:
        """Enlarge and normalise uint8 tiles (B, h, w, 3): float pictures (B, 3, H, W)."""
        x = enlarge(tiles.permute(0, 3, 1, 2).to(self.mean.dtype), self.settings.input_scale)
        return (x - self.mean) / self.std

    def trunk(self, pictures: Tensor) -> TrunkOutput:
        """Return features, foreground and raw proposals of prepared pictures (B, 3, H, W)."""
        maps = self.pyramid(self.backbone(pictures))
        rpn_logits, rpn_deltas = self.rpn(maps)
        foreground, semantic = self.semantic(maps)
        features = Features(
            fine4=maps[0],
            fine8=maps[1],
            summary16=similarity_summary(maps[2]),
            summary32=similarity_summary(maps[3]),
            semantic=semantic,
        )
        return TrunkOutput(features, foreground, rpn_logits, rpn_deltas)

    def heads(self, features: Features, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and class probabilities after all three stages.

        Parameters
        ----------
        features
            From :meth:`trunk`.
        regions
            float (R, 5): tile index and xyxy in network-input pixels.

        Returns
        -------
        boxes
            float (R, 4), stage 3's, clipped to the picture.
        probabilities
            float (R, classes), from the mean of the three stages' logits.
        """
        height = features.fine4.shape[-2] * 4
        width = features.fine4.shape[-1] * 4
        tile, corners = regions[:, :1], regions[:, 1:]
        logits: list[Tensor] = []
        for stage, stds in zip(self.stages, STAGE_STDS, strict=True):
            pooled = self.box_features(features, torch.cat([tile, corners], dim=1))
            classes, deltas = stage(pooled)
            corners = boxes.clip(boxes.decode(corners, deltas.float(), stds), width, height)
            logits.append(classes)
        return corners, class_scores((logits[0] + logits[1] + logits[2]) / 3)

    def masks(self, features: Features, regions: Tensor) -> Tensor:
        """Return mask logits (R, 28, 28) of final boxes ``regions`` (R, 5: tile, xyxy)."""
        return cast("Tensor", self.mask(self.mask_features(features, regions)))
