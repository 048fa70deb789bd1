import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.ground.errors import SlideError
from nuhtc.runtime.slides.open import open_slide
from nuhtc.runtime.slides.picture import ArraySlide, PictureSlide, read_picture


def ramp(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 5, x + y], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"näme 😐{suffix}"
    Image.fromarray(ramp()).save(path, lossless=True)
    slide = open_slide(path, mpp=0.5)
    assert (slide.name, slide.path, slide.mpp) == ("näme 😐", path, 0.5)
    assert (slide.width, slide.height, slide.downsamples) == (50, 40, (1.0,))
    np.testing.assert_array_equal(slide.read(0, 0, 0, 50, 40), ramp())


def test_jpeg_is_close(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(ramp()).save(path, quality=95, subsampling=0)
    difference = read_picture(path)[0].astype(int) - ramp()
    assert np.abs(difference).mean() < 2


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, :3] = (200, 0, 100)
    rgba[0, :, 3] = (255, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    half = np.rint(np.array([200, 0, 100]) * (128 / 255) + 255 * (127 / 255))
    found = read_picture(tmp_path / "a.png")[0].astype(int)[0]
    assert found[0].tolist() == [200, 0, 100]
    assert found[1].tolist() == [255, 255, 255]
    assert np.abs(found[2] - half).max() <= 1


def test_palettes_greys_and_cmyk_become_rgb(tmp_path: Path) -> None:
    grey = np.full((4, 4), 77, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png")[0] == 77).all()
    palette = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), mode=None).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(tmp_path / "palette.png", transparency=2)
    found = read_picture(tmp_path / "palette.png")[0]
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[0, 1].tolist() == [40, 50, 60]
    assert found[1, 1].tolist() == [255, 255, 255]
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "ink.tif")
    assert read_picture(tmp_path / "ink.tif")[0][0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("top", "bits"), [(200, 8), (4095, 12), (65535, 16)])
def test_deep_grey_is_scaled_by_the_depth_it_uses(
    tmp_path: Path, top: int, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    deep = np.array([[0, top]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    found = read_picture(tmp_path / "deep.tif")[0]
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[0, 1].tolist() == [round(top * 255 / (2**bits - 1))] * 3
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_numbers_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(SlideError, match=r"floating-point.*8-bit RGB"):
        read_picture(tmp_path / "float.tif")


def test_a_stack_of_channels_is_refused_and_a_thumbnail_page_is_not(tmp_path: Path) -> None:
    pages = [Image.new("L", (20, 20), grey) for grey in (10, 20, 30)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(SlideError, match="3 pages of the same size"):
        read_picture(tmp_path / "stack.tif")
    small = Image.new("L", (5, 5), 99)
    pages[0].save(tmp_path / "thumbnail.tif", save_all=True, append_images=[small])
    assert (read_picture(tmp_path / "thumbnail.tif")[0] == 10).all()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_a_truncated_picture_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SlideError) as caught:
        open_slide(path, mpp=0.25)
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_in_a_pictures_clothes_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("hello")
    with pytest.raises(SlideError, match="no picture"):
        open_slide(path, mpp=0.25)


def test_a_large_picture_is_read_and_a_huge_one_says_how_to_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(ramp()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    assert read_picture(path)[0].shape == (40, 50, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(SlideError, match=r"too large.*--pyramid"):
        read_picture(path)


def test_the_files_own_microscope_resolution_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(ramp()).save(path, dpi=(50800, 50800))
    assert PictureSlide(path, None, 0.25).mpp == pytest.approx(0.5)


def test_outside_an_array_is_white() -> None:
    slide = ArraySlide(ramp(), 0.25)
    found = slide.read(-3, 38, 0, 10, 5)
    assert (found[:, :3] == 255).all()
    assert (found[2:] == 255).all()
    np.testing.assert_array_equal(found[:2, 3:], ramp()[38:40, :7])
    assert (slide.read(1000, 1000, 0, 4, 4) == 255).all()


def test_digests_tell_pictures_apart(tmp_path: Path) -> None:
    other = ramp()
    other[0, 0, 0] ^= 1
    assert ArraySlide(ramp(), 0.25).digest() == ArraySlide(ramp(), 0.25).digest()
    assert ArraySlide(ramp(), 0.25).digest() != ArraySlide(other, 0.25).digest()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_a_level_must_be_rgb(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        ArraySlide(np.zeros(shape, np.uint8), 0.25)
