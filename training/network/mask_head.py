"""Mask head: a 28x28 outline for each region."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskHead(nn.Module):
    """Class-agnostic mask head (He et al. 2017), 14x14 region features to 28x28 logits.

    Parameters
    ----------
    channels
        Channels of the region features.
    convolutions
        3x3 convolutions before the upsampling, one at least.
    width
        Channels of everything inside; None takes ``channels``, as published.
    """

    def __init__(self, channels: int, convolutions: int = 4, width: int | None = None) -> None:
        super().__init__()
        inside = channels if width is None else width
        self.convs = nn.ModuleList(
            nn.Conv2d(inside if i else channels, inside, 3, padding=1) for i in range(convolutions)
        )
        self.upsample = nn.ConvTranspose2d(inside, inside, 2, stride=2)
        self.logits = nn.Conv2d(inside, 1, 1)

    def forward(self, regions: Tensor) -> Tensor:
        """Return logits (R, 28, 28) of region features (R, C, 14, 14)."""
        x = regions
        for conv in self.convs:
            x = functional.relu(conv(x))
        return self._enlarged_logits(x)

    def _enlarged_logits(self, x: Tensor) -> Tensor:
        """Return ``logits(relu(upsample(x)))`` as 1x1 convolutions, which run twice as fast.

        A transposed convolution of size and stride 2 makes four cells of each cell without
        looking at the neighbours: four sets of channels, of which each gives one logit.
        """
        channels = self.logits.in_channels
        # (in, out, 2, 2) to (2 * 2 * out, in, 1, 1): the four cells one after the other.
        weight = self.upsample.weight.permute(2, 3, 1, 0).reshape(4 * channels, -1, 1, 1)
        bias = cast("Tensor", self.upsample.bias).repeat(4)
        four = functional.relu(functional.conv2d(x, weight, bias))
        own = torch.eye(4, dtype=x.dtype, device=x.device)[:, :, None]
        each = (own * self.logits.weight.reshape(1, 1, channels)).reshape(4, 4 * channels, 1, 1)
        logits = functional.conv2d(four, each, cast("Tensor", self.logits.bias).repeat(4))
        # Each cell's four go where they belong; pixel_shuffle has no gradient for no regions.
        side = 2 * x.shape[-1]
        cells = logits.reshape(-1, 2, 2, *x.shape[-2:]).permute(0, 3, 1, 4, 2)
        return cells.reshape(-1, side, side)
