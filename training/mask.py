"""Mask head: a 28x28 outline for each region."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional


class MaskHead(nn.Module):
    """Class-agnostic mask head (He et al. 2017), 14x14 region features to 28x28 logits.

    Parameters
    ----------
    channels
        Channels of the region features and of everything inside.
    convolutions
        3x3 convolutions before the upsampling.
    """

    def __init__(self, channels: int, convolutions: int = 4) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convolutions)
        )
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.logits = nn.Conv2d(channels, 1, 1)

    def forward(self, regions: Tensor) -> Tensor:
        """Logits (R, 28, 28) of region features (R, C, 14, 14)."""
        x = regions
        for conv in self.convs:
            x = functional.relu(conv(x))
        x = functional.relu(self.upsample(x))
        return cast("Tensor", self.logits(x)).squeeze(1)
