import logging

import pytest

from nuhtc.runtime.ground.errors import ResolutionError, UsageError
from nuhtc.runtime.slides.resolution import picture_mpp, slide_mpp, working_mpp


def properties(x: str, y: str) -> dict[str, str]:
    return {"openslide.mpp-x": x, "openslide.mpp-y": y}


def test_metadata_are_used_as_they_are() -> None:
    assert slide_mpp(properties("0.2527", "0.2527"), "a.svs", None) == 0.2527


def test_no_metadata_says_how_to_give_it() -> None:
    with pytest.raises(ResolutionError, match=r"a\.svs.*20x.*--mpp 0\.25.*40x"):
        slide_mpp({"openslide.objective-power": "20"}, "a.svs", None)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        *(("nan", "0.25"), ("0", "0"), ("-0.25", "-0.25"), ("inf", "inf"), ("0,25", "0,25")),
        *(("", ""), ("352.8", "352.8"), ("0.25", "0.5")),
    ],
)
def test_impossible_metadata_are_refused_unless_the_user_knows(x: str, y: str) -> None:
    with pytest.raises(ResolutionError, match="--mpp"):
        slide_mpp(properties(x, y), "a.svs", None)
    assert slide_mpp(properties(x, y), "a.svs", 0.25) == 0.25


def test_nearly_square_pixels_are_averaged() -> None:
    assert slide_mpp(properties("0.25", "0.2501"), "a.svs", None) == pytest.approx(0.25005)


def test_what_the_user_says_wins_and_a_contradiction_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert slide_mpp(properties("0.25", "0.25"), "a.svs", 0.26) == 0.26
    assert not caplog.records
    assert slide_mpp(properties("0.25", "0.25"), "a.svs", 0.5) == 0.5
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "0.25" in caplog.text
    assert "0.5" in caplog.text


@pytest.mark.parametrize("mpp", [0.0, -0.25, float("nan"), float("inf"), 40.0, 250.0])
def test_a_magnification_is_no_resolution(mpp: float) -> None:
    with pytest.raises(UsageError, match="microns per pixel"):
        slide_mpp(properties("0.25", "0.25"), "a.svs", mpp)


def test_a_picture_takes_the_models_resolution_aloud(caplog: pytest.LogCaptureFixture) -> None:
    assert picture_mpp((72.0, 72.0), "a.png", None, 0.25) == 0.25
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a.png" in caplog.text
    assert "--mpp" in caplog.text


def test_a_microscopes_dpi_is_believed() -> None:
    assert picture_mpp((50800.0, 50800.0), "a.tif", None, 0.25) == pytest.approx(0.5)
    assert picture_mpp((50800.0, 25400.0), "a.tif", None, 0.25) == 0.25


def test_a_picture_without_any_resolution_is_refused_when_nothing_is_to_be_assumed() -> None:
    with pytest.raises(ResolutionError, match="--mpp"):
        picture_mpp(None, "a.png", None, None)
    assert picture_mpp(None, "a.png", 0.3, None) == 0.3


def test_a_scanners_rounding_is_the_models_own_scale() -> None:
    assert working_mpp(0.2527, 0.25) == 0.2527
    assert working_mpp(0.5, 0.25) == 0.25
