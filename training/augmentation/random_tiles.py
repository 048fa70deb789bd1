"""Batches of training tiles with their targets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nuhtc.training.augmentation.augment import AugmentSettings, draw_tile
from nuhtc.training.augmentation.augment_published import PublishedAugment, draw_published_tile
from nuhtc.training.augmentation.sampling import ClassAware, class_presence, focus
from nuhtc.training.data.images import Pictures

MIN_AREA = 16
"""Nuclei with fewer visible pixels are no targets."""

UNKNOWN_CLASS = -1
"""Class index of nuclei whose class nobody has written down."""


@dataclass(frozen=True)
class TileTargets:
    """One tile and its nuclei, in tile pixels."""

    rgb: Tensor
    """uint8 (H, W, 3)"""
    boxes: Tensor
    """float (G, 4), xyxy"""
    labels: Tensor
    """int64 (G,), class index or UNKNOWN_CLASS"""
    instances: Tensor
    """int32 (H, W): 0 for background, ``i + 1`` for nucleus ``i``"""


def make_targets(
    rgb: NDArray[np.uint8], instances: NDArray[np.int32], types: NDArray[np.int64] | None
) -> TileTargets:
    """Return the boxes, classes and numbers of the nuclei visible in a tile.

    Parameters
    ----------
    rgb
        uint8 (H, W, 3).
    instances
        int32 (H, W), picture-wide numbers, 0 for background.
    types
        Class of each number, or None.
    """
    numbers, compact = np.unique(instances, return_inverse=True)
    compact = compact.reshape(instances.shape)
    if numbers[0] != 0:
        compact = compact + 1
        numbers = np.concatenate([[0], numbers])
    areas = np.bincount(compact.ravel(), minlength=len(numbers))
    slices = ndimage.find_objects(compact)
    kept = [i for i in range(1, len(numbers)) if areas[i] >= MIN_AREA]
    boxes = np.zeros((len(kept), 4), np.float32)
    rank = np.zeros(len(numbers), np.int32)
    for row, i in enumerate(kept):
        y, x = slices[i - 1]
        boxes[row] = (x.start, y.start, x.stop, y.stop)
        rank[i] = row + 1
    labels = np.full(len(kept), UNKNOWN_CLASS, np.int64) if types is None else types[numbers[kept]]
    return TileTargets(
        torch.from_numpy(rgb),
        torch.from_numpy(boxes),
        torch.from_numpy(labels),
        torch.from_numpy(rank[compact]),
    )


class RandomTiles(Dataset[TileTargets]):
    """Tile number ``n`` of an endless, reproducible sequence.

    Parameters
    ----------
    groups
        The pictures of each data set.
    weights
        How often each data set is drawn from.
    size
        Side of a tile in pixels.
    mpp
        um per pixel of a tile.
    seed
        The same seed gives the same sequence, in any number of processes.
    augment
        How far a tile may differ from its picture.
    class_aware
        Number of classes: within a data set draw a class, then a picture that has it, then
        one of its nuclei of that class, around which the tile is cut. None draws pictures.
    progress
        Show a bar while pictures are searched for classes.
    """

    def __init__(
        self,
        groups: Sequence[Pictures],
        weights: Sequence[float],
        size: int,
        mpp: float,
        seed: int,
        augment: AugmentSettings | PublishedAugment,
        class_aware: int | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self.groups = groups
        self.weights = np.asarray(weights, np.float64) / sum(weights)
        self.size = size
        self.mpp = mpp
        self.seed = seed
        self.augment = augment
        self.samplers: list[ClassAware | None] = [None for _ in groups]
        if class_aware is not None:
            self.samplers = [
                ClassAware(class_presence(group, class_aware, progress=progress))
                for group in groups
            ]

    def __getitem__(self, number: int) -> TileTargets:
        """Tile ``number`` with its targets."""
        rng = np.random.default_rng([self.seed, number])
        chosen = rng.choice(len(self.groups), p=self.weights)
        group, sampler = self.groups[chosen], self.samplers[chosen]
        centre = None
        if sampler is None or not sampler.classes:
            image = group[int(rng.integers(len(group)))]
        else:
            index, label = sampler.draw(rng)
            image = group[index]
            centre = focus(image, label, rng)
        if isinstance(self.augment, PublishedAugment):
            rgb, instances = draw_published_tile(
                image, self.size, rng, self.augment, mpp=self.mpp, centre=centre
            )
        else:
            rgb, instances = draw_tile(
                image, self.size, rng, self.augment, mpp=self.mpp, centre=centre
            )
        return make_targets(rgb, instances, image.types)


Share = Callable[[range], list[int]]
"""Which of a step's tiles are this process's, such as `list` where there is one process."""


class _Steps(Sampler[list[int]]):
    """Tile numbers of each step from ``start``: a resumed run starts where it stopped."""

    def __init__(self, start: int, stop: int, batch: int, share: Share) -> None:
        self.steps = range(start, stop)
        self.batch = batch
        self.share = share

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield self.share(range(step * self.batch, (step + 1) * self.batch))

    def __len__(self) -> int:
        return len(self.steps)


def batches(
    tiles: RandomTiles,
    batch: int,
    first_step: int,
    last_step: int,
    workers: int,
    share: Share,
) -> Iterator[list[TileTargets]]:
    """Return the process's share of batches ``first_step`` to ``last_step - 1`` of the sequence."""
    loader = DataLoader(
        tiles,
        batch_sampler=_Steps(first_step, last_step, batch, share),
        num_workers=workers,
        collate_fn=list,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
    )
    return iter(loader)


def stack_pictures(batch: Sequence[TileTargets], device: torch.device) -> Tensor:
    """Return the batch's pictures, uint8 (B, H, W, 3), on the device."""
    return torch.stack([tile.rgb for tile in batch]).to(device, non_blocking=True)
