"""A network small enough to train in a test, and pictures of discs for it to find."""

from collections.abc import Sequence

import numpy as np
import torch
from made.blobs import random_ellipses
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nuhtc.runtime.bundle.card import DetectionSettings, NucleusClass, ProposalSettings
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.loop.recipe import Lesson, Recipe
from nuhtc.training.network.nuhtc import NetworkSettings
from nuhtc.training.network.presets import Preset
from nuhtc.training.objective.objective import ObjectiveSettings

NAMES = ("Bright", "Dark")


class TinyBackbone(nn.Module):
    """Four convolutions, with what makes training states differ: batch norm and dropout."""

    channels = (8, 8, 12, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(self.channels, self.channels[1:], strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.drop(functional.relu(self.norm(self.stem(x))))]
        for conv in self.steps:
            maps.append(functional.relu(conv(maps[-1])))
        return maps


TINY = Preset(
    name="tiny",
    mpp=0.25,
    tile=96,
    network=NetworkSettings(
        channels=8,
        box_sampling=1,
        box_semantic_size=7,
        mask_sampling=1,
        hidden=16,
        semantic_convolutions=1,
        mask_convolutions=1,
    ),
    proposals_per_level=40,
    proposals=ProposalSettings(count=30, min_side=5.0, nms=0.7, watershed_opening=0),
    detection=DetectionSettings(
        score=0.35, nms=0.5, nms_per_class=True, count=500, mask_threshold=0.5
    ),
    backbone=TinyBackbone,
)

TINY_LESSON = Lesson(
    objective=ObjectiveSettings(
        rpn_samples=64,
        anchors_inside=False,
        proposals_per_level=60,
        proposals=60,
        proposal_min_side=0.0,
        watershed_opening=0,
        watershed_draws=None,
        stage_low_quality=False,
        stage_samples=32,
        class_mean_over_all=False,
        mask_samples=8,
        mask_weight=1.0,
    ),
    recipe=Recipe(batch=2, warmup=2),
)

TINY_INFO = CheckpointInfo(
    preset="tiny",
    classes=(NucleusClass(NAMES[0], (255, 255, 0)), NucleusClass(NAMES[1], (0, 0, 255))),
)


def disc_image(seed: int, side: int = 128, *, typed: bool = True) -> AnnotatedImage:
    """Return dark (class 1) and bright (class 0) ellipses on pink, with their truth."""
    instances = random_ellipses(seed, side, side, side // 6, (14.0, 24.0))
    count = int(instances.max())
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 2, count + 1)
    colours = np.array([(150, 120, 200), (70, 30, 110)])[types]
    colours[0] = (230, 180, 210)
    rgb = colours[instances] + rng.normal(0, 4, (side, side, 3))
    return AnnotatedImage(
        f"discs-{seed}",
        rgb.clip(0, 255).astype(np.uint8),
        instances,
        types.astype(np.int64) if typed else None,
    )


def generator(seed: int = 0) -> torch.Generator:
    """Return a source of randomness that a test starts afresh."""
    return torch.Generator().manual_seed(seed)


def bounds(inside: NDArray[np.bool_]) -> Sequence[int]:
    """Return x0, y0, x1, y1 around the true pixels."""
    y, x = np.nonzero(inside)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
