"""Swin-T: a transformer on shifted windows, the published network's backbone (Liu et al. 2021).

Written out here because the details decide whether published weights give published numbers
at any input size: maps are padded to whole windows *before* they are shifted, the padding
takes part in attention, and windows are neither shrunk nor left unshifted on small maps.
"""

from typing import NamedTuple, cast

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
        """Return ``x`` (B, ...), or zeros for some of the batch."""
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(kept).div_(kept)


class Windows(NamedTuple):
    """Which cells of a batch of maps make up each window, and the way back.

    A row is a cell, row by row and picture by picture.
    """

    cells: Tensor
    """int64 (B * W, 49), the row of each of a window's cells; B * H * W for padding"""
    places: Tensor
    """int64 (B * H * W, 2): the window of each row and its place in there, 0 to 48"""
    mask: Tensor | None
    """float (W, 49, 49) from :func:`shift_mask`, None for windows that are not shifted"""


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

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """Attend within each window.

        Queries, keys and values are worked out once for each cell, and once for all padding;
        then rows are picked for each window and head. That is one copy where padding, shifting,
        cutting into windows and splitting into heads took seven.

        Parameters
        ----------
        x
            float (N, C), the rows of all maps.
        windows
            Rows of each window.
        """
        channels = x.shape[1]
        cells = WINDOW * WINDOW
        width = channels // self.heads
        padding = x.new_zeros(1, channels)
        rows = self.qkv(torch.cat([x, padding])).reshape(-1, width)
        head = torch.arange(self.heads, device=x.device)
        # Of each cell, the heads of the query, then of the key, then of the value.
        index = windows.cells[:, None, :] * (3 * self.heads) + head[:, None]
        shape = (-1, self.heads, cells, width)
        q, k, v = (
            rows.index_select(0, (index + part * self.heads).flatten()).reshape(shape)
            for part in range(3)
        )
        attention = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.position_bias[self.position_index].reshape(cells, cells, self.heads)
        attention = attention + bias.permute(2, 0, 1)
        if windows.mask is not None:
            grouped = attention.reshape(-1, windows.mask.shape[0], self.heads, cells, cells)
            attention = (grouped + windows.mask[:, None]).reshape(-1, self.heads, cells, cells)
        out = (attention.softmax(dim=-1) @ v).reshape(-1, width)
        window, place = windows.places.unbind(1)
        back = (window[:, None] * self.heads + head) * cells + place[:, None]
        return cast("Tensor", self.proj(out.index_select(0, back.flatten()).reshape(-1, channels)))


class Block(nn.Module):
    """Window attention, then a two-layer perceptron, each around a residual.

    Parameters
    ----------
    channels, heads
        See :class:`WindowAttention`.
    drop_path
        See :class:`DropPath`.
    """

    def __init__(self, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, windows: Windows, batch: int) -> Tensor:
        """Return rows (N, C) of rows (N, C) that belong to ``batch`` pictures."""
        x = x + self._some(self.attention(self.norm1(x), windows), batch)
        hidden = self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return x + self._some(hidden, batch)

    def _some(self, x: Tensor, batch: int) -> Tensor:
        """Return ``x``, or nothing for the pictures that this block leaves out."""
        return cast("Tensor", self.drop_path(x.reshape(batch, -1, x.shape[1]))).reshape(x.shape)


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
        """Return the map (B, H / 2, W / 2, 2 C) of a map (B, H, W, C); H and W even."""
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
            nn.ModuleList(Block(c, h, next(rates)) for _ in range(depth))
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
        """Return maps of shapes (B, C_i, H / stride_i, W / stride_i) of pictures (B, 3, H, W).

        H and W are multiples of 32.
        """
        x = self.patch_norm(self.patch(x).permute(0, 2, 3, 1))
        maps = []
        for i, (blocks, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            if i:
                x = self.merges[i - 1](x)
            batch, height, width, channels = x.shape
            # Every second block's windows are half a window further down and right.
            plans = [window_cells(batch, height, width, shift, x) for shift in (0, WINDOW // 2)]
            x = x.reshape(-1, channels)
            for number, block in enumerate(cast("nn.ModuleList", blocks)):
                x = block(x, plans[number % 2], batch)
            x = x.reshape(batch, height, width, channels)
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps


def window_cells(batch: int, height: int, width: int, shift: int, like: Tensor) -> Windows:
    """Cut maps into windows; maps are padded to whole windows, then moved up and left.

    Parameters
    ----------
    batch, height, width
        Number of maps, and their size in cells.
    shift
        Cells to move by; what leaves on one side comes back on the other.
    like
        Gives dtype and device.
    """
    tall, wide = height + -height % WINDOW, width + -width % WINDOW
    y = _turn(torch.arange(tall, device=like.device) + shift, tall)
    x = _turn(torch.arange(wide, device=like.device) + shift, wide)
    picture = torch.arange(batch, device=like.device)
    inside = (y[:, None] < height) & (x < width)
    cells = picture[:, None, None] * (height * width) + y[:, None] * width + x
    cells = torch.where(inside, cells, batch * height * width)
    y = _turn(torch.arange(height, device=like.device) + (tall - shift), tall)
    x = _turn(torch.arange(width, device=like.device) + (wide - shift), wide)
    columns = wide // WINDOW
    window = (y // WINDOW)[:, None] * columns + x // WINDOW
    window = picture[:, None, None] * (tall // WINDOW * columns) + window
    place = ((y % WINDOW)[:, None] * WINDOW + x % WINDOW).expand_as(window)
    return Windows(
        _windows(cells[..., None]).squeeze(-1),
        torch.stack([window.flatten(), place.flatten()], dim=1),
        shift_mask(height, width, like) if shift else None,
    )


def _turn(index: Tensor, side: int) -> Tensor:
    """Return ``index % side``, ``index`` below twice ``side``; exporting has no dynamic %."""
    return torch.where(index >= side, index - side, index)


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
    """Return which of the three bands that a shift makes each row or column is in."""
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
    """Return the row of the bias table for each pair of a window's cells, int64 (49 * 49,)."""
    y, x = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    y, x = y.flatten(), x.flatten()
    down = y[:, None] - y[None, :] + WINDOW - 1
    right = x[:, None] - x[None, :] + WINDOW - 1
    return (down * (2 * WINDOW - 1) + right).flatten()
