"""Swin-T: a transformer on shifted windows, the published network's backbone (Liu et al. 2021).

Written out here because the details decide whether published weights give published numbers
at any input size: maps are padded to whole windows *before* they are shifted, the padding
takes part in attention, and windows are neither shrunk nor left unshifted on small maps.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 7
"""Side of an attention window, in cells."""

MASKED = -100.0
"""Added to the attention between cells that only the shift made neighbours."""


class DropPath(nn.Module):
    """Leaves a block out, at random for each picture of the batch, while training.

    Parameters
    ----------
    probability
        Of being left out; the blocks that stay are scaled up to make up for it.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, ...), or zeros for some of the batch."""
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(kept).div_(kept)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a bias for each relative position.

    Parameters
    ----------
    channels
        Channels of the map.
    heads
        Number of attention heads; divides ``channels``.
    """

    position_index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.position_bias = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.register_buffer("position_index", _position_index(), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Parameters
        ----------
        x
            float (B * W, 49, C), the W windows of each picture in a row.
        mask
            float (W, 49, 49), added to the attention; None where nothing is masked.
        """
        windows, cells, channels = x.shape
        qkv = self.qkv(x).reshape(windows, cells, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.position_bias[self.position_index].reshape(cells, cells, self.heads)
        attention = attention + bias.permute(2, 0, 1)
        if mask is not None:
            grouped = attention.reshape(-1, mask.shape[0], self.heads, cells, cells)
            attention = (grouped + mask[:, None]).reshape(windows, self.heads, cells, cells)
        out = attention.softmax(dim=-1) @ v
        return cast("Tensor", self.proj(out.transpose(1, 2).reshape(windows, cells, channels)))


class Block(nn.Module):
    """Window attention, then a two-layer perceptron, each around a residual.

    Parameters
    ----------
    channels, heads
        See :class:`WindowAttention`.
    shift
        Cells by which the windows are moved up and left; 0 or half a window.
    drop_path
        See :class:`DropPath`.
    """

    def __init__(self, channels: int, heads: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, H, W, C) of a map of that shape; ``mask`` from :func:`shift_mask`."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask))
        hidden = self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return x + cast("Tensor", self.drop_path(hidden))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        x = functional.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), dims=(1, 2))
        batch, padded_height, padded_width, channels = x.shape
        windows = self.attention(_windows(x), mask if self.shift else None)
        rows, columns = padded_height // WINDOW, padded_width // WINDOW
        x = windows.reshape(batch, rows, columns, WINDOW, WINDOW, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, padded_height, padded_width, channels)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Half the size, twice the channels: each 2x2 neighbourhood becomes one cell.

    The neighbours' channels follow each other as blocks: top left, bottom left, top
    right, bottom right.

    Parameters
    ----------
    channels
        Of the map that comes in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H / 2, W / 2, 2 C) of a map (B, H, W, C); H and W even."""
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        x = x.permute(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * channels)
        return cast("Tensor", self.reduction(self.norm(x)))


class SwinTransformer(nn.Module):
    """Swin-T without its classifier, a LayerNorm on each map it gives.

    Parameters
    ----------
    drop_path
        Probability of leaving out the last block while training; earlier blocks'
        grow to it from 0 in even steps.
    """

    channels = (96, 192, 384, 768)
    """Channels of the maps at strides 4, 8, 16, 32."""
    depths = (2, 2, 6, 2)
    """Blocks at each stride."""
    heads = (3, 6, 12, 24)
    """Attention heads at each stride."""

    def __init__(self, drop_path: float = 0.2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, self.channels[0], 4, stride=4)
        self.patch_norm = nn.LayerNorm(self.channels[0])
        rates = iter(torch.linspace(0, drop_path, sum(self.depths)).tolist())
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(c, h, i % 2 * (WINDOW // 2), next(rates)) for i in range(depth))
            for c, h, depth in zip(self.channels, self.heads, self.depths, strict=True)
        )
        self.merges = nn.ModuleList(PatchMerging(c) for c in self.channels[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give maps of shapes (B, C_i, H / stride_i, W / stride_i) of pictures (B, 3, H, W).

        H and W are multiples of 32.
        """
        x = self.patch_norm(self.patch(x).permute(0, 2, 3, 1))
        maps = []
        for i, (blocks, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            if i:
                x = self.merges[i - 1](x)
            mask = shift_mask(x.shape[1], x.shape[2], x)
            for block in cast("nn.ModuleList", blocks):
                x = block(x, mask)
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps


def shift_mask(height: int, width: int, like: Tensor) -> Tensor:
    """Keep shifted windows from mixing opposite borders of a map.

    Parameters
    ----------
    height, width
        The map's size in cells, before padding.
    like
        Gives dtype and device.

    Returns
    -------
    Tensor
        float (W, 49, 49): 0 between cells of one region, -100 between others.
    """
    rows = _bands(height, like)
    columns = _bands(width, like)
    regions = _windows((rows[:, None] * 3 + columns)[None, :, :, None]).squeeze(-1)
    return (regions[:, :, None] != regions[:, None, :]).to(like.dtype) * MASKED


def _bands(side: int, like: Tensor) -> Tensor:
    """Which of the three bands that a shift makes each row or column is in."""
    padded = side + -side % WINDOW
    cells = torch.arange(padded, device=like.device)
    return (cells >= padded - WINDOW).long() + (cells >= padded - WINDOW // 2).long()


def _windows(x: Tensor) -> Tensor:
    """Cut the windows (B * W, 49, C) out of a map (B, H, W, C) whose sides are whole windows."""
    batch, height, width, channels = x.shape
    rows, columns = height // WINDOW, width // WINDOW
    x = x.reshape(batch, rows, WINDOW, columns, WINDOW, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, channels)


def _position_index() -> Tensor:
    """Row of the bias table for each pair of a window's cells, int64 (49 * 49,)."""
    y, x = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    y, x = y.flatten(), x.flatten()
    down = y[:, None] - y[None, :] + WINDOW - 1
    right = x[:, None] - x[None, :] + WINDOW - 1
    return (down * (2 * WINDOW - 1) + right).flatten()
