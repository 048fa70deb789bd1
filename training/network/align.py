"""RoIAlign with a backward pass that a CPU can afford."""

from typing import Any, cast

import torch
from torch import Tensor
from torchvision.ops import roi_align


def align_regions(x: Tensor, regions: Tensor, stride: int, size: int, sampling: int) -> Tensor:
    """Crop regions from a feature map (RoIAlign, He et al. 2017, with aligned corners).

    Parameters
    ----------
    x
        float (B, C, H, W).
    regions
        float (R, 5): index into the batch, and xyxy in network-input pixels.
    stride
        Network-input pixels per cell of ``x``.
    size
        Side of the output in bins.
    sampling
        Samples per bin side; 0 takes as many as a bin has cells.

    Returns
    -------
    Tensor
        float (R, C, size, size).
    """
    # torchvision's backward pass on the CPU scatters one channel of one sample at a time, which
    # took half of a training step. Small matrix products per region give the same sums.
    if x.device.type == "cpu" and x.requires_grad:
        result: Tensor = _WindowedBackward.apply(x, regions, stride, size, sampling)
        return result
    return cast("Tensor", roi_align(x, regions, size, 1 / stride, sampling, aligned=True))


class _WindowedBackward(torch.autograd.Function):
    """torchvision's forward pass; the backward pass adds one window of cells per region.

    Along one axis a region's bins are weighted sums of cells: ``bin = W @ cells``. So the
    gradient of its window of cells is ``Wy^T @ grad @ Wx``, which is then added to the map
    in rows of channels.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, regions: Tensor, stride: int, size: int, sampling: int
    ) -> Tensor:
        ctx.save_for_backward(regions)
        ctx.shape, ctx.stride, ctx.size, ctx.sampling = x.shape, stride, size, sampling
        out: Tensor = roi_align(x, regions, size, 1 / stride, sampling, aligned=True)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (regions,) = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        low, high = regions[:, 1:3] / ctx.stride, regions[:, 3:5] / ctx.stride
        first_x, cells_x = _window(low[:, 0], high[:, 0], width)
        first_y, cells_y = _window(low[:, 1], high[:, 1], height)
        rows = grad.permute(0, 2, 3, 1).float()
        result = torch.zeros(batch * height * width, channels)
        # Regions of like size go together, in windows of 4, 8, 16, ... cells.
        side = torch.maximum(cells_x, cells_y).clamp(min=4)
        power = (side.to(torch.float32).log2().ceil()).long()
        for exponent in sorted(set(power.tolist())):
            chosen = (power == exponent).nonzero()[:, 0]
            cells = 1 << int(exponent)
            # A chunk's gradients stay within the processor's cache.
            for part in chosen.split(max(1, 65536 // cells**2)):
                x = _weights(low[part, 0], high[part, 0], first_x[part], cells, width, ctx)
                y = _weights(low[part, 1], high[part, 1], first_y[part], cells, height, ctx)
                picked = rows[part]
                # (R, cells, bins) @ (R, bins, bins * C), then the same along x.
                along_y = torch.bmm(y.transpose(1, 2), picked.flatten(2))
                along_y = along_y.reshape(-1, ctx.size, channels)
                window = torch.bmm(x.transpose(1, 2).repeat_interleave(cells, 0), along_y)
                offset = torch.arange(cells)
                row = (first_y[part, None] + offset).clamp(max=height - 1)
                column = (first_x[part, None] + offset).clamp(max=width - 1)
                row = row + regions[part, :1].long() * height
                target = row[:, :, None] * width + column[:, None, :]
                result.index_add_(0, target.reshape(-1), window.reshape(-1, channels))
        image = result.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return image.to(grad.dtype), None, None, None, None


def _window(low: Tensor, high: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Return the first cell that a region reads along one axis, and how many cells, (R,) each."""
    first = (low - 0.5).floor().clamp(0, cells - 1).long()
    last = ((high - 0.5).floor() + 1).clamp(0, cells - 1).long()
    return first, last - first + 1


def _weights(low: Tensor, high: Tensor, first: Tensor, window: int, cells: int, ctx: Any) -> Tensor:
    """Return the weight of each window cell in each bin along one axis, (R, bins, window)."""
    length = high - low
    adaptive = (length / ctx.size).ceil()
    samples = torch.full_like(low, ctx.sampling) if ctx.sampling > 0 else adaptive
    most = int(samples.max()) if len(samples) else 0
    number = torch.arange(max(most, 1), dtype=low.dtype)
    used = (number < samples[:, None]).to(low.dtype) / samples.clamp(min=1)[:, None]
    inner = (number + 0.5) / samples.clamp(min=1)[:, None]
    bins = torch.arange(ctx.size, dtype=low.dtype)
    at = (low - 0.5)[:, None, None] + (length / ctx.size)[:, None, None] * (
        bins[:, None] + inner[:, None, :]
    )
    share_of_bin = ((at >= -1) & (at <= cells)).to(low.dtype) * used[:, None, :]
    at = at.clamp(0, cells - 1)
    cell = at.floor()
    part = at - cell
    start = cell.long() - first[:, None, None]
    result = torch.zeros(len(low), ctx.size, window)
    for index, share in ((start, 1 - part), (start + 1, part)):
        result.scatter_add_(2, index.clamp(0, window - 1), (share * share_of_bin).float())
    return result
