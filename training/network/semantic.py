"""Semantic branch: nucleus or not for every cell at stride 4, and a feature map for regions."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class SemanticBranch(nn.Module):
    """Fused semantic head of the hybrid task cascade (Chen et al. 2019, section 3.3).

    Parameters
    ----------
    channels
        Channels of the feature maps and of everything inside.
    levels
        Number of feature maps.
    convolutions
        3x3 convolutions after the fusion.
    """

    def __init__(self, channels: int, levels: int = 4, convolutions: int = 4) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(levels))
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convolutions)
        )
        self.embedding = nn.Conv2d(channels, channels, 1)
        self.logits = nn.Conv2d(channels, 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return foreground logits (B, 1, H/4, W/4) and the semantic feature (B, C, H/4, W/4)."""
        size = maps[0].shape[-2:]
        x = functional.relu(self.lateral[0](maps[0]))
        for conv, coarse in zip(list(self.lateral)[1:], maps[1:], strict=True):
            # A 1x1 convolution and an interpolation may change places; the small map is cheaper.
            grown = functional.interpolate(conv(coarse), size, mode="bilinear", align_corners=True)
            x = x + functional.relu(grown)
        for conv in self.convs:
            x = functional.relu(conv(x))
        return self.logits(x), functional.relu(self.embedding(x))
