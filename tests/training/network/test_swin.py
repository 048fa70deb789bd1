"""Swin-T against timm's where the two agree, and on sizes where they do not."""

from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from nuhtc.training.network.resize import double
from nuhtc.training.network.swin import (
    DropPath,
    SwinTransformer,
    WindowAttention,
    Windows,
    shift_mask,
    window_cells,
)


@pytest.fixture(scope="module")
def swin() -> SwinTransformer:
    torch.manual_seed(3)
    return SwinTransformer().eval()


@torch.no_grad()
def test_stages_equal_timm_on_whole_windows(swin: Any) -> None:
    # At 224 pixels every map but the last is made of whole windows, and larger than one.
    other: Any = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False).eval()
    other.patch_embed.proj.load_state_dict(swin.patch.state_dict())
    other.patch_embed.norm.load_state_dict(swin.patch_norm.state_dict())
    for i, (ours, theirs) in enumerate(zip(swin.stages, other.layers, strict=True)):
        if i:
            theirs.downsample.load_state_dict(swin.merges[i - 1].state_dict())
        for mine, its in zip(ours, theirs.blocks, strict=True):
            its.norm1.load_state_dict(mine.norm1.state_dict())
            its.norm2.load_state_dict(mine.norm2.state_dict())
            its.mlp.fc1.load_state_dict(mine.fc1.state_dict())
            its.mlp.fc2.load_state_dict(mine.fc2.state_dict())
            its.attn.qkv.load_state_dict(mine.attention.qkv.state_dict())
            its.attn.proj.load_state_dict(mine.attention.proj.state_dict())
            its.attn.relative_position_bias_table.copy_(mine.attention.position_bias)
    picture = torch.randn(2, 3, 224, 224)
    x = other.patch_embed(picture)
    for layer, norm, found in zip(other.layers[:3], swin.norms, swin(picture), strict=False):
        x = layer(x)
        torch.testing.assert_close(found, norm(x).permute(0, 3, 1, 2), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 160), (224, 64)])
def test_maps_of_any_multiple_of_32(swin: SwinTransformer, height: int, width: int) -> None:
    maps = swin(torch.randn(2, 3, height, width))
    for i, (channels, x) in enumerate(zip(swin.channels, maps, strict=True)):
        assert x.shape == (2, channels, height // 4 // 2**i, width // 4 // 2**i)
        assert bool(torch.isfinite(x).all())


@torch.no_grad()
def test_pictures_of_a_batch_do_not_mix(swin: SwinTransformer) -> None:
    pictures = torch.randn(3, 3, 64, 96)
    together = swin(pictures)
    for i in range(3):
        for whole, alone in zip(together, swin(pictures[i : i + 1]), strict=True):
            torch.testing.assert_close(whole[i : i + 1], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_masked_cells_have_no_weight() -> None:
    attention = WindowAttention(32, 4).eval()
    mask = torch.zeros(1, 49, 49)
    mask[:, :20, 20:] = -100
    mask[:, 20:, :20] = -100
    rows = torch.arange(98)
    places = torch.stack([rows // 49, rows % 49], dim=1)
    windows = Windows(rows.reshape(2, 49), places, mask)
    x = torch.randn(2, 49, 32)
    changed = x.clone()
    changed[:, 20:] = torch.randn(2, 29, 32)
    before, after = (
        attention(rows.flatten(0, 1), windows).reshape(2, 49, 32)[:, :20] for rows in (x, changed)
    )
    torch.testing.assert_close(before, after)


@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0, 3]))
@settings(max_examples=40, deadline=None)
def test_windows_are_a_padded_shifted_map_in_pieces(
    batch: int, height: int, width: int, shift: int
) -> None:
    windows = window_cells(batch, height, width, shift, torch.zeros(1))
    count = batch * height * width
    cells = torch.arange(count).reshape(batch, height, width)
    padded = functional.pad(cells, (0, -width % 7, 0, -height % 7), value=count)
    moved = torch.roll(padded, (-shift, -shift), dims=(1, 2))
    pieces = [
        moved[b, y : y + 7, x : x + 7].flatten()
        for b in range(batch)
        for y in range(0, moved.shape[1], 7)
        for x in range(0, moved.shape[2], 7)
    ]
    assert torch.equal(windows.cells, torch.stack(pieces))
    window, place = windows.places.unbind(1)
    assert torch.equal(windows.cells[window, place], torch.arange(count))
    assert (windows.mask is None) == (shift == 0)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_shift_mask_joins_cells_that_were_neighbours(height: int, width: int) -> None:
    """After the shift, two cells of a window may meet if neither wrapped round past the other."""
    tall, wide = height + -height % 7, width + -width % 7
    y = torch.roll(torch.arange(tall), -3)[:, None].expand(tall, wide)
    x = torch.roll(torch.arange(wide), -3)[None].expand(tall, wide)

    def windows(a: Tensor) -> Tensor:
        return a.reshape(tall // 7, 7, wide // 7, 7).permute(0, 2, 1, 3).reshape(-1, 49)

    y, x = windows(y), windows(x)
    apart = ((y[:, :, None] - y[:, None]).abs() >= 7) | ((x[:, :, None] - x[:, None]).abs() >= 7)
    joined = shift_mask(height, width, torch.zeros(1)) == 0
    # A map of one window is the exception: its wrapped cells are less than a window away.
    if tall > 7 and wide > 7:
        assert torch.equal(joined, ~apart)
    else:
        assert not bool((joined & apart).any())


def test_drop_path_leaves_out_whole_pictures_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    dropped = layer(x)
    kept = dropped[:, 0, 0] != 0
    assert torch.equal(dropped, kept[:, None, None] * x / 0.75)
    assert abs(float(kept.float().mean()) - 0.75) < 0.03
    assert torch.equal(layer.eval()(x), x)


def test_drop_path_grows_evenly_to_the_last_block() -> None:
    swin = SwinTransformer(drop_path=0.2)
    rates = [layer.probability for layer in swin.modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0.2 * i / 11 for i in range(12)])


def test_training_reaches_every_weight() -> None:
    swin = SwinTransformer(drop_path=0.0)
    sum(x.square().sum() for x in swin(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in swin.parameters())


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_doubling_stays_within_a_level_of_the_exact_one(h: int, w: int, seed: int) -> None:
    picture = torch.randint(0, 256, (1, 3, h, w), generator=torch.Generator().manual_seed(seed))
    exact = torch.nn.functional.interpolate(picture.double(), scale_factor=2, mode="bilinear")
    found = double(picture.float())
    assert torch.equal(found, found.round())
    assert float((found - exact).abs().max()) <= 1


def test_doubling_keeps_flat_pictures() -> None:
    levels = torch.arange(256.0).reshape(256, 1, 1, 1).expand(256, 1, 3, 2)
    assert torch.equal(double(levels), levels.repeat_interleave(2, 2).repeat_interleave(2, 3))
