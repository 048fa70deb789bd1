"""Feature pyramid: fine maps with the context of the coarse ones."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """Feature pyramid network (Lin et al. 2017), nearest upsampling, no norm, no activation.

    Parameters
    ----------
    in_channels
        Channels of the backbone's maps, finest first.
    channels
        Channels of every map it gives.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps (B, channels, H_i, W_i), finest first, as the input's."""
        merged = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            size = merged[i - 1].shape[-2:]
            merged[i - 1] = merged[i - 1] + functional.interpolate(merged[i], size, mode="nearest")
        return [cast("Tensor", conv(x)) for conv, x in zip(self.output, merged, strict=True)]
