from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.demo import pyramid
from nuhtc.runtime.demo.pyramid import write_pyramid
from nuhtc.runtime.ground.errors import OutputError


def smooth(width: int, height: int) -> NDArray[np.uint8]:
    """Colours that JPEG keeps well, and that differ everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [128 + 100 * np.sin(x / 90), 128 + 100 * np.cos(y / 70), 255 * (x + y) / (width + height)],
        axis=2,
    ).astype(np.uint8)


def level(slide: openslide.OpenSlide, index: int) -> NDArray[np.int_]:
    region = slide.read_region((0, 0), index, slide.level_dimensions[index])
    return np.asarray(region.convert("RGB")).astype(int)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("size", [(700, 450), (256, 256), (257, 1), (1, 1), (1024, 512)])
def test_openslide_reads_every_level(
    tmp_path: Path, size: tuple[int, int], big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid, "BIG_FROM", 0 if big else 2**32)
    picture = smooth(*size)
    write_pyramid(tmp_path / "a.tiff", picture, mpp=0.2527)
    with openslide.OpenSlide(tmp_path / "a.tiff") as slide:
        assert slide.dimensions == size
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.2527, abs=1e-6)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.2527, abs=1e-6)
        assert max(slide.level_dimensions[-1]) <= 256
        for index, dimensions in enumerate(slide.level_dimensions):
            assert dimensions == tuple(-(-side // 2**index) for side in size)
            assert np.abs(level(slide, index) - halved(picture, index)).mean() < 3


def halved(picture: NDArray[np.uint8], times: int) -> NDArray[np.float64]:
    values = picture.astype(float)
    for _ in range(times):
        odd = ((0, values.shape[0] % 2), (0, values.shape[1] % 2), (0, 0))
        values = np.pad(values, odd, mode="edge")
        values = (values[0::2] + values[1::2]) / 2
        values = (values[:, 0::2] + values[:, 1::2]) / 2
    return values


def test_the_same_picture_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_pyramid(tmp_path / name, smooth(500, 600), mpp=0.25, tile=128)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_pillow_reads_it_too(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.tiff", smooth(300, 200), mpp=0.25)
    with Image.open(tmp_path / "a.tiff") as image:
        assert image.size == (300, 200)
        assert image.info["dpi"][0] == pytest.approx(25400 / 0.25, rel=1e-6)


@pytest.mark.parametrize("mpp", [0.01, 0.1 + 0.2, 1 / 3, 7.77777])
def test_any_resolution_survives(tmp_path: Path, mpp: float) -> None:
    write_pyramid(tmp_path / "a.tiff", smooth(32, 32), mpp=mpp)
    with openslide.OpenSlide(tmp_path / "a.tiff") as slide:
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp, rel=1e-6)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tile"):
        write_pyramid(tmp_path / "a.tiff", smooth(32, 32), mpp=0.25, tile=100)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write_pyramid(tmp_path / "nowhere" / "a.tiff", smooth(32, 32), mpp=0.25)
