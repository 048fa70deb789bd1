"""What is worked out in another order than written down, against the order written down."""

import pytest
import torch
from torch.nn import functional
from torchvision.ops import roi_align

from nuhtc.runtime.bundle.card import FEATURES
from nuhtc.training.network.hybrid import Features, HybridFeatures, similarity_summary
from nuhtc.training.network.mask_head import MaskHead
from nuhtc.training.network.rpn import STRIDES, AnchorSettings, RegionProposalHead
from nuhtc.training.network.semantic import SemanticBranch

REGIONS = torch.tensor(
    [[0.0, 8, 8, 40, 40], [1, 3.5, 20.25, 77, 51], [0, -9, -4, 20, 20], [1, 60, 60, 140, 90]]
)


def features(channels: int = 5, side: int = 96) -> Features:
    torch.manual_seed(1)
    maps = [torch.randn(2, channels, side // stride, side // stride) for stride in STRIDES]
    return Features(
        maps[0],
        maps[1],
        similarity_summary(maps[2]),
        similarity_summary(maps[3]),
        torch.randn_like(maps[0]),
    )


def by_hand(given: Features, size: int, sampling: int, semantic_size: int) -> torch.Tensor:
    """Each map cropped on its own, each summary looked up region by region."""
    out = roi_align(given.fine4, REGIONS, size, 1 / 4, sampling, aligned=True)
    out = out + roi_align(given.fine8, REGIONS, size, 1 / 8, sampling, aligned=True)
    pooled = sampling if semantic_size == size else 0
    semantic = roi_align(given.semantic, REGIONS, semantic_size, 1 / 4, pooled, aligned=True)
    out = out + functional.adaptive_avg_pool2d(semantic, size)
    for i, (tile, x0, y0, x1, y1) in enumerate(REGIONS.tolist()):
        for summary, stride in ((given.summary16, 16), (given.summary32, 32)):
            cells = 96 // stride
            x, y = (
                min(max(int((a + b) / 2 // stride), 0), cells - 1) for a, b in ((x0, x1), (y0, y1))
            )
            out[i] += summary[int(tile), y * cells + x][:, None, None]
    return out


@pytest.mark.parametrize(
    ("size", "sampling", "semantic_size"), [(7, 1, 7), (14, 1, 14), (14, 0, 14), (7, 2, 14)]
)
def test_maps_sampled_at_the_same_places_are_cropped_as_a_sum(
    size: int, sampling: int, semantic_size: int
) -> None:
    given = features()
    found = HybridFeatures(size, sampling, semantic_size)(given, REGIONS)
    wanted = by_hand(given, size, sampling, semantic_size)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_an_enlarged_map_is_cropped_with_the_finer_one() -> None:
    given = features()
    found = HybridFeatures(7, 1, 7, enlarge8=True)(given, REGIONS)
    enlarged = functional.interpolate(given.fine8, scale_factor=2, mode="bilinear")
    whole = given._replace(fine4=given.fine4 + enlarged, fine8=torch.zeros_like(given.fine8))
    torch.testing.assert_close(found, by_hand(whole, 7, 1, 7), rtol=0, atol=1e-5)


@torch.no_grad()
def test_mask_logits_are_those_of_a_transposed_convolution() -> None:
    torch.manual_seed(2)
    head = MaskHead(6, 2)
    x = torch.randn(3, 6, 14, 14)
    found = head(x)
    for conv in head.convs:
        x = functional.relu(conv(x))
    wanted = head.logits(functional.relu(head.upsample(x))).squeeze(1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_lateral_convolutions_may_come_before_the_enlargement() -> None:
    torch.manual_seed(3)
    branch = SemanticBranch(6, convolutions=0)
    maps = [torch.randn(1, 6, 24 // 2**i, 40 // 2**i) for i in range(4)]
    x = functional.relu(branch.lateral[0](maps[0]))
    for conv, coarse in zip(list(branch.lateral)[1:], maps[1:], strict=True):
        grown = functional.interpolate(coarse, (24, 40), mode="bilinear", align_corners=True)
        x = x + functional.relu(conv(grown))
    foreground, semantic = branch(maps)
    torch.testing.assert_close(foreground, branch.logits(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(semantic, functional.relu(branch.embedding(x)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", range(4))
def test_anchors_stand_on_the_corners_of_their_cells(level: int) -> None:
    settings = AnchorSettings(scale=3.0, ratios=(0.25, 4.0))
    head = RegionProposalHead(4, settings)
    stride = STRIDES[level]
    grid = head.anchors(level, 3, 5, torch.zeros(1)).reshape(3, 5, 2, 4)
    for y in range(3):
        for x in range(5):
            for ratio, box in zip(settings.ratios, grid[y, x], strict=True):
                half = torch.tensor([ratio**-0.5, ratio**0.5]) * 3.0 * stride / 2
                centre = torch.tensor([x, y]) * stride
                torch.testing.assert_close(box, torch.cat([centre - half, centre + half]))


def test_the_networks_features_are_the_cards() -> None:
    assert Features._fields == FEATURES
