"""Boxes as arrays: deltas, clipping and overlap.

Boxes are xyxy in pixels of the network's input, x to the right and y down.
"""

import math

import torch
from torch import Tensor

MAX_LOG_RATIO = math.log(1000 / 16)
"""Bound on the logarithm of a side's ratio, so that no delta can blow a box up."""


def encode(boxes: Tensor, targets: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """Return the deltas that turn ``boxes`` into ``targets``.

    Parameters
    ----------
    boxes, targets
        float (N, 4), xyxy, sides greater than zero.
    stds
        Spread of (dx, dy, dw, dh); each delta is divided by its own.

    Returns
    -------
    Tensor
        float (N, 4).
    """
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    target_size = (targets[:, 2:] - targets[:, :2]).clamp(min=1e-3)
    target_centre = (targets[:, 2:] + targets[:, :2]) / 2
    shift = (target_centre - centre) / size
    scale = torch.log(target_size / size)
    return torch.cat([shift, scale], dim=1) / boxes.new_tensor(stds)


def decode(boxes: Tensor, deltas: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """Move ``boxes`` by ``deltas``, the inverse of :func:`encode`.

    Parameters
    ----------
    boxes, deltas
        float (..., 4).
    stds
        Spread of (dx, dy, dw, dh).

    Returns
    -------
    Tensor
        float (..., 4), xyxy, not clipped.
    """
    deltas = deltas * deltas.new_tensor(stds)
    size = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., 2:] + boxes[..., :2]) * 0.5 + size * deltas[..., :2]
    half = size * torch.exp(deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)) * 0.5
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, width: int, height: int) -> Tensor:
    """Return boxes (..., 4) with every corner moved into the picture."""
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union of every box of ``a`` (N, 4) with each of ``b`` (M, 4)."""
    area_a = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(dim=1)
    area_b = (b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1)
    # One axis at a time and in place: these are the largest arrays of a training step.
    inter = torch.minimum(a[:, None, 2], b[None, :, 2])
    inter.sub_(torch.maximum(a[:, None, 0], b[None, :, 0])).clamp_(min=0)
    tall = torch.minimum(a[:, None, 3], b[None, :, 3])
    tall.sub_(torch.maximum(a[:, None, 1], b[None, :, 1])).clamp_(min=0)
    inter.mul_(tall)
    union = tall.copy_(area_a[:, None] + area_b[None, :]).sub_(inter).clamp_(min=1e-6)
    return inter.div_(union)
