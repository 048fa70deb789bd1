"""RoIAlign's own backward pass gives torchvision's gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import roi_align

from nuhtc.training.network.align import align_regions

HEIGHT, WIDTH, STRIDE = 12, 16, 4


def maps(channels: int = 3) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(2, channels, HEIGHT, WIDTH)).astype(np.float32))


def both(
    x: Tensor, regions: Tensor, size: int, sampling: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return our answer and torchvision's, then our gradient and torchvision's."""
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = align_regions(ours, regions, STRIDE, size, sampling)
    expected = roi_align(theirs, regions, size, 1 / STRIDE, sampling, aligned=True)
    weight = torch.linspace(-1, 2, expected.numel()).reshape(expected.shape)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    return found.detach(), expected.detach(), ours.grad, theirs.grad


# Quarters and powers of two are exact, so a sample that sits on the limit beyond which
# nothing is read sits there for both.
QUARTERS = st.integers(-120, 400).map(lambda n: n / 4)
REGIONS = st.lists(
    st.tuples(st.integers(0, 1), QUARTERS, QUARTERS, QUARTERS, QUARTERS).map(
        lambda r: [r[0], min(r[1], r[3]), min(r[2], r[4]), max(r[1], r[3]), max(r[2], r[4])]
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(REGIONS, st.sampled_from([0, 1, 2, 4]))
def test_gradient_and_answer_are_torchvisions(rows: list[list[float]], sampling: int) -> None:
    regions = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    found, expected, ours, theirs = both(maps(), regions, 4, sampling)
    assert torch.equal(found, expected)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "sampling"), [(7, 1), (7, 2), (14, 1), (14, 2), (7, 0), (14, 0)])
def test_at_the_sizes_the_network_uses(size: int, sampling: int) -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(-20, 60, (30, 2))
    rows = np.concatenate([rng.integers(0, 2, (30, 1)), low, low + rng.uniform(0, 50, (30, 2))], 1)
    regions = torch.from_numpy(rows.astype(np.float32))
    _, _, ours, theirs = both(maps(5), regions, size, sampling)
    assert float(theirs.abs().max()) > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_region_beyond_the_map_reads_and_teaches_nothing() -> None:
    regions = torch.tensor([[1.0, 500, 500, 540, 540], [0, -90, 3, -50, 9]])
    found, _, ours, _ = both(maps(), regions, 7, 1)
    assert not found.any() and not ours.any()


def test_only_the_regions_own_picture_learns() -> None:
    _, _, ours, _ = both(maps(), torch.tensor([[1.0, 4, 4, 30, 30]]), 7, 1)
    assert not ours[0].any() and bool(ours[1].any())


def test_a_flat_map_stays_flat() -> None:
    x = torch.full((1, 2, HEIGHT, WIDTH), 3.0, requires_grad=True)
    found = align_regions(x, torch.tensor([[0.0, 8, 8, 40, 40]]), STRIDE, 7, 2)
    torch.testing.assert_close(found, torch.full((1, 2, 7, 7), 3.0))


def test_adaptive_sampling_is_torchvisions() -> None:
    regions = torch.tensor([[0.0, 3, 5, 47, 31]])
    found, expected, ours, theirs = both(maps(), regions, 7, 0)
    assert torch.equal(found, expected)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
