"""Inference in PyTorch: tiles in, nuclei out. The runtime does the same with a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nuhtc.native import proposals as kernels
from nuhtc.runtime.engines.calibration import calibrate
from nuhtc.training.network.nuhtc import NuHTC, TrunkOutput
from nuhtc.training.network.presets import InferenceSettings


@dataclass(frozen=True)
class TileNuclei:
    """The nuclei of one tile, best first."""

    boxes: NDArray[np.float32]
    """(N, 4), xyxy in tile pixels"""
    scores: NDArray[np.float32]
    """(N,)"""
    labels: NDArray[np.int64]
    """(N,), class index"""
    probabilities: NDArray[np.float32]
    """(N, classes)"""
    masks: NDArray[np.float32]
    """(N, 28, 28), probabilities over the box"""


def propose(
    network: NuHTC,
    output: TrunkOutput,
    settings: InferenceSettings,
) -> list[NDArray[np.float32]]:
    """Regions of each tile: watershed boxes first, then the RPN's best.

    Parameters
    ----------
    network
        The network that gave ``output``.
    output
        Of the trunk, for B tiles.
    settings
        Thresholds and counts.

    Returns
    -------
    list of arrays
        For each tile float32 (N, 4), xyxy in network-input pixels.
    """
    found, scores, levels = network.rpn.candidates(
        [x.float() for x in output.rpn_logits],
        [x.float() for x in output.rpn_deltas],
        settings.proposals_per_level,
    )
    foreground = output.foreground[:, 0].float().cpu().numpy()
    group = levels.cpu().numpy().astype(np.int64)
    height, width = (side * 4 for side in foreground.shape[-2:])
    result = []
    for tile, tile_scores, logits in zip(
        found.cpu().numpy(), scores.cpu().numpy(), foreground, strict=True
    ):
        fit = (tile[:, 2:] - tile[:, :2] > settings.proposal_min_side).all(axis=1)
        fit &= tile_scores >= settings.proposal_score
        candidates, ranked = tile[fit], tile_scores[fit]
        keep = kernels.nms(
            candidates, ranked, settings.proposal_nms, group[fit], settings.proposals
        )
        watershed = kernels.watershed_boxes(
            np.ascontiguousarray(logits), width, height, opening=settings.watershed_opening
        )
        result.append(np.concatenate([watershed, candidates[keep]]))
    return result


def regions_of(proposals: Sequence[NDArray[np.float32]], device: torch.device) -> Tensor:
    """Boxes of several tiles as one float tensor (R, 5): tile index and xyxy."""
    rows = [
        np.concatenate([np.full((len(boxes), 1), tile, np.float32), boxes], axis=1)
        for tile, boxes in enumerate(proposals)
    ]
    return torch.from_numpy(np.concatenate(rows)).to(device)


def select(
    boxes: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    settings: InferenceSettings,
    ranks: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which regions of one tile are nuclei, and of which class, best first.

    Parameters
    ----------
    boxes
        float32 (R, 4).
    probabilities
        float32 (R, classes).
    settings
        Thresholds; ``nms_per_class`` says whether two classes may claim one nucleus.
    ranks
        float32 (R, classes): which of two boxes stays; None takes the probabilities.

    Returns
    -------
    regions, labels
        int64 (N,): index into ``boxes``, and class.
    """
    if settings.nms_per_class:
        regions, labels = np.nonzero(probabilities > settings.score)
    else:
        best = probabilities.argmax(axis=1)
        regions = np.nonzero(probabilities.max(axis=1) > settings.score)[0]
        labels = best[regions]
    scores = np.ascontiguousarray((probabilities if ranks is None else ranks)[regions, labels])
    keep = kernels.nms(
        np.ascontiguousarray(boxes[regions]),
        scores,
        settings.nms,
        labels.astype(np.int64) if settings.nms_per_class else None,
        settings.max_detections,
    )
    return regions[keep].astype(np.int64), labels[keep].astype(np.int64)


@torch.no_grad()
def detect(network: NuHTC, tiles: Tensor, settings: InferenceSettings) -> list[TileNuclei]:
    """Find the nuclei of a batch of tiles.

    Parameters
    ----------
    network
        In evaluation mode.
    tiles
        uint8 (B, H, W, 3), sides multiples of 32.
    settings
        Thresholds and counts.
    """
    output = network.trunk(network.prepare(tiles))
    proposals = propose(network, output, settings)
    regions = regions_of(proposals, tiles.device)
    corners, probabilities = network.heads(output.features, regions)
    all_boxes = corners.float().cpu().numpy()
    said = probabilities.float().cpu().numpy()
    all_probabilities = calibrate(
        said,
        settings.object_temperature,
        settings.object_bias,
        settings.class_temperature,
    )
    chosen, labels = [], []
    start = 0
    for boxes in proposals:
        stop = start + len(boxes)
        part = slice(start, stop)
        index, label = select(all_boxes[part], all_probabilities[part], settings, said[part])
        chosen.append(index + start)
        labels.append(label)
        start = stop
    picked = torch.from_numpy(np.concatenate(chosen)).to(tiles.device)
    final = torch.cat([regions[picked, :1], corners[picked]], dim=1)
    masks = network.masks(output.features, final).float().sigmoid().cpu().numpy()
    result = []
    start = 0
    for index, label in zip(chosen, labels, strict=True):
        stop = start + len(index)
        result.append(
            TileNuclei(
                boxes=(all_boxes[index] / network.settings.input_scale).astype(np.float32),
                scores=all_probabilities[index, label],
                labels=label,
                probabilities=all_probabilities[index],
                masks=masks[start:stop],
            )
        )
        start = stop
    return result
