"""Tiles for comparison and calibration: which pictures of a data set they come from."""

from pathlib import Path

import numpy as np
import pytest
from made.tiny import disc_image

from nuhtc.export.proof import example_tiles as module
from nuhtc.export.proof.example_tiles import (
    CALIBRATED,
    calibration_tiles,
    compared_tiles,
    example_tiles,
)
from nuhtc.runtime.ground.errors import SlideError
from nuhtc.training.data.images import AnnotatedImage


class NumberedSet:
    """Each picture is of one grey level, its number; of consep, 3, 8, 13 ... are held out."""

    name = "consep"

    def __len__(self) -> int:
        return 40

    def names(self) -> list[str]:
        return [f"train_{i}" for i in range(40)]

    def __getitem__(self, index: int) -> AnnotatedImage:
        image = disc_image(0, 80)
        return AnnotatedImage("", np.full_like(image.rgb, index), image.instances, None)


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(module, "open_set", lambda path: NumberedSet())
    return [Path("consep")]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such folder"):
        compared_tiles([tmp_path / "nowhere"], 64)


def test_ranges_are_never_measured_on_held_out_pictures(numbered: list[Path]) -> None:
    found = calibration_tiles(numbered, 64)
    numbers = found.rgb[:, 0, 0, 0].tolist()
    assert len(set(numbers)) == len(numbers) == CALIBRATED
    assert all(number % 5 != 3 for number in numbers)
    assert "training pictures of consep" in found.source


def test_comparison_is_on_held_out_pictures_only(numbered: list[Path]) -> None:
    found = compared_tiles(numbered * 2, 64)
    numbers = found.rgb[:, 0, 0, 0].tolist()
    assert found.rgb.shape == (8, 64, 64, 3)
    assert all(number % 5 == 3 for number in numbers)
    assert len(set(numbers)) == 4, "half of them from each set given"
    assert found.source.count("held-out pictures of consep") == 2


def test_without_pictures_they_are_made_up_and_said_to_be() -> None:
    for tiles in (compared_tiles([], 64), calibration_tiles([], 64)):
        assert np.array_equal(tiles.rgb, example_tiles(64))
        assert "made-up" in tiles.source
