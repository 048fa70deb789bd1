"""The picture people look at first."""

from pathlib import Path

import numpy as np
import pytest
from made.made_nuclei import CLASSES, made_nuclei
from numpy.typing import NDArray
from PIL import Image

from nuhtc.runtime.ground.errors import OutputError, SlideReadError
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.slides.picture import ArraySlide
from nuhtc.runtime.writers.overlay import Survey, write_overlay

GREY = 230


def draw(path: Path, slide: ArraySlide, nuclei: Nuclei, parts: int = 3, **options: int) -> None:
    """Draw nuclei that come in several parts, as they come from a store."""
    survey = Survey(slide, len(CLASSES))
    chunks = [nuclei.take(some) for some in np.array_split(np.arange(len(nuclei)), parts)]
    for chunk in chunks:
        survey.add(chunk)
    write_overlay(path, survey, chunks, CLASSES, **options)


def drawn(path: Path, slide: ArraySlide, nuclei: Nuclei, **options: int) -> NDArray[np.uint8]:
    draw(path, slide, nuclei, **options)
    with Image.open(path) as picture:
        return np.asarray(picture)


def plain(side: int = 512) -> ArraySlide:
    return ArraySlide(np.full((side, side, 3), GREY, np.uint8), 0.25)


def test_each_outline_has_its_classs_colour_and_nothing_else_changes(tmp_path: Path) -> None:
    nuclei = made_nuclei(seed=1)
    picture = drawn(tmp_path / "a.png", plain(), nuclei)[:512, :512]
    touched = np.zeros((512, 512), np.bool_)
    for index in range(len(nuclei)):
        x0, y0, x1, y1 = nuclei.bbox[index] // 100
        color = CLASSES[nuclei.label[index]].color
        box = picture[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2]
        assert (box == color).all(axis=2).sum() > (x1 - x0), "most of the way around"
        touched[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
        middle = tuple((nuclei.centroid[index] - 0.5).astype(int))[::-1]
        assert (picture[middle] == GREY).all(), "outlined, not filled"
    assert (picture[~touched] == GREY).all()


def test_the_legend_names_every_colour(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", plain(), made_nuclei(seed=1))
    legend = picture[512:]
    assert all((legend == one.color).all(axis=2).sum() >= 100 for one in CLASSES)


def test_a_large_slide_shows_dots_and_a_detail(tmp_path: Path) -> None:
    few = made_nuclei(seed=2)
    corner = np.array([3000, 1000])
    moved = Nuclei(
        **{
            **vars(few),
            "coords": few.coords + (corner * 100).astype(np.int32),
            "bbox": few.bbox + np.tile(corner * 100, 2).astype(np.int32),
            "centroid": few.centroid + corner.astype(np.float32),
        }
    )
    picture = drawn(tmp_path / "a.png", plain(4000), moved, max_side=500)
    assert picture.shape[1] == 500 + 12 + 1200
    overview, detail = picture[:500, :500], picture[:1200, 512:]
    colors = [one.color for one in CLASSES]
    for index in range(len(moved)):
        x, y = (moved.centroid[index] / 8).astype(int)
        nearby = overview[y - 1 : y + 3, x - 1 : x + 3].reshape(-1, 3).tolist()
        assert any(tuple(pixel) in colors for pixel in nearby)
    marks = sum((detail == color).all(axis=2).sum() for color in colors)
    assert marks > 30 * len(moved), "all nuclei are in the detail, outlined at full size"


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (40, 40)])
def test_slides_of_any_shape(tmp_path: Path, size: tuple[int, int]) -> None:
    slide = ArraySlide(np.full((*size, 3), GREY, np.uint8), 0.25)
    nothing = made_nuclei().take(np.zeros(0, np.int64))
    picture = drawn(tmp_path / "a.png", slide, nothing)
    assert (picture[: size[0], : size[1]] == GREY).all()


def test_a_large_slide_without_nuclei(tmp_path: Path) -> None:
    nothing = made_nuclei().take(np.zeros(0, np.int64))
    picture = drawn(tmp_path / "a.png", plain(2000), nothing, max_side=500)
    assert (picture[:500, :500] == GREY).all()


def test_a_damaged_detail_is_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = plain(4000)
    overview = slide.thumbnail(500)

    def damaged(*args: object) -> None:
        raise SlideReadError("damaged")

    monkeypatch.setattr(slide, "read", damaged)
    monkeypatch.setattr(slide, "thumbnail", lambda side: overview)
    picture = drawn(tmp_path / "a.png", slide, made_nuclei(seed=2), max_side=500)
    assert (picture[700, 1000] == 127).all()


def test_outlines_are_the_same_in_any_parts(tmp_path: Path) -> None:
    for parts in (1, 5):
        drawn(tmp_path / f"{parts}.png", plain(), made_nuclei(seed=3), parts=parts)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "5.png").read_bytes()


def test_the_survey_finds_the_median_and_the_densest_place() -> None:
    nuclei, slide = made_nuclei(seed=4), plain(4000)
    survey = Survey(slide, len(CLASSES))
    for some in np.array_split(np.arange(len(nuclei)), 4):
        survey.add(nuclei.take(some))
    exact = np.median(nuclei.bbox[:, 2:] - nuclei.bbox[:, :2]) / 100
    assert survey.median_px == pytest.approx(exact, abs=1)
    assert survey.counts.tolist() == np.bincount(nuclei.label, minlength=len(CLASSES)).tolist()
    x, y, width, height = survey.densest()
    inside = (nuclei.centroid >= [x, y]).all(axis=1)
    inside &= (nuclei.centroid < [x + width, y + height]).all(axis=1)
    assert inside.all(), "all of them lie within 600 pixels"


def test_a_folder_that_is_none_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.png"):
        draw(tmp_path / "none" / "a.png", plain(), made_nuclei())
