from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nuhtc.runtime.demo import slide as demo_slide
from nuhtc.runtime.demo.slide import KINDS, demo_picture, draw_demo, write_demo_slide
from nuhtc.runtime.slides.open import open_slide

SIZE = (900, 700)


def test_the_same_seed_gives_the_same_picture() -> None:
    first, second, other = draw_demo(3, *SIZE), draw_demo(3, *SIZE), draw_demo(4, *SIZE)
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.rgb != other.rgb).any()


def test_the_truth_is_a_label_map_of_whole_plausible_nuclei() -> None:
    demo = draw_demo(3, *SIZE)
    assert demo.rgb.shape == (700, 900, 3)
    assert demo.rgb.dtype == np.uint8
    count = len(demo.kinds)
    numbers = np.arange(1, count + 1)
    assert demo.labels.max() == count > 60
    area_um2 = np.bincount(demo.labels.ravel(), minlength=count + 1)[1:] * 0.25**2
    assert area_um2.min() > 4
    assert area_um2.max() < 80
    for number, box in zip(numbers, ndimage.find_objects(demo.labels), strict=True):
        parts, pieces = ndimage.label(demo.labels[box] == number)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.9 * sizes.sum(), f"nucleus {number} is in {pieces} pieces"


def test_all_three_looks_are_there_and_darker_than_their_surroundings() -> None:
    demo = draw_demo(3, *SIZE)
    assert set(demo.kinds.tolist()) == set(range(len(KINDS)))
    red = demo.rgb[..., 0].astype(float)
    numbers = np.arange(1, len(demo.kinds) + 1)
    inside = ndimage.mean(red, demo.labels, numbers)
    grown = ndimage.grey_dilation(demo.labels, (9, 9)) * (demo.labels == 0)
    present = np.isin(numbers, grown)
    around = ndimage.mean(red, grown, numbers[present])
    assert (inside[present] < around - 15).mean() > 0.97


def test_the_colours_are_those_of_real_sections() -> None:
    # Means of nuclei and of tissue in CoNSeP's training images lie in these ranges.
    demo = draw_demo(3, *SIZE)
    nuclei = demo.rgb[demo.labels > 0].mean(0)
    assert (nuclei > (100, 60, 135)).all()
    assert (nuclei < (175, 140, 210)).all()
    tissue = (demo.labels == 0) & (demo.rgb.min(2) < 225)
    pink = demo.rgb[tissue].mean(0)
    assert (pink > (195, 145, 190)).all()
    assert (pink < (240, 210, 240)).all()


def test_any_size_can_be_made() -> None:
    rgb, labels = demo_picture(0, 128, 130)
    assert rgb.shape == (130, 128, 3)
    assert labels.shape == (130, 128)
    with pytest.raises(ValueError, match="128"):
        demo_picture(0, 127, 500)


def test_the_file_is_a_slide_of_known_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def remember(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        made.append(demo_picture(seed))
        return made[0]

    monkeypatch.setattr(demo_slide, "demo_picture", remember)
    write_demo_slide(tmp_path / "demo.tiff")
    slide = open_slide(tmp_path / "demo.tiff")
    assert (slide.width, slide.height) == (3072, 2048)
    assert slide.mpp == pytest.approx(0.25, abs=1e-4)
    assert slide.downsamples == (1.0, 2.0, 4.0, 8.0, 16.0)
    rgb, labels = made[0]
    assert labels.max() > 1000
    read = slide.read(1000, 700, 0, 500, 400).astype(int)
    assert np.abs(read - rgb[700:1100, 1000:1500]).mean() < 3
