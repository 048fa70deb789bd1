"""Classes as given in words, and which kind of checkpoint a file is."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.tiny import TINY, TINY_INFO

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.open import check_preset, read_checkpoint
from nuhtc.training.data.classes import parse_classes


def test_names_and_colors() -> None:
    assert parse_classes("Tumour=#ff8000, Stroma =#0A0b0C") == (
        NucleusClass("Tumour", (255, 128, 0)),
        NucleusClass("Stroma", (10, 11, 12)),
    )


def test_names_that_pannuke_has_get_its_colors() -> None:
    assert parse_classes("connective,Dead=#010203") == (
        NucleusClass("connective", (0, 0, 255)),
        NucleusClass("Dead", (1, 2, 3)),
    )


def test_other_names_get_colors_that_differ() -> None:
    found = parse_classes("A,B,C")
    assert [one.color for one in found] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    many = parse_classes(",".join(f"class {i}" for i in range(30)))
    assert len({one.color for one in many}) == 30


NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters=",="), min_size=1, max_size=9
)


@given(st.dictionaries(NAMES, st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=9))
def test_what_is_written_comes_back(classes: dict[str, tuple[int, int, int]]) -> None:
    text = ",".join(f"{name}=#{bytes(color).hex()}" for name, color in classes.items())
    assert parse_classes(text) == tuple(NucleusClass(*item) for item in classes.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "needs a name"),
        ("A,", "needs a name"),
        ("A, ,B", "needs a name"),
        ("=#ff0000", "needs a name"),
        ("A\x07", "needs a name"),
        ("A=", "#rrggbb"),
        ("A=red", "#rrggbb"),
        ("A=#fff", "#rrggbb"),
        ("A=#ff00zz", "#rrggbb"),
        ("A=B=#ff0000", "#rrggbb"),
        ("A,B,A", "twice"),
    ],
)
def test_malformed_classes(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        parse_classes(text)
    assert "\n" not in str(caught.value)


def test_which_kind_a_file_is(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "ours.pt", TINY_INFO, TINY.build(2).state_dict())
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    ours = read_checkpoint(tmp_path / "ours.pt")
    assert (ours.preset, ours.info, ours.published) == ("tiny", TINY_INFO, None)
    other = read_checkpoint(tmp_path / "other.pth")
    assert other.preset == "swin_t" and other.info is None and other.data[0].licence == "unknown"
    with pytest.raises(CheckpointError, match="no checkpoint of nuhtc-train, nor a published one"):
        read_checkpoint(tmp_path / "list.pth")


def test_any_preset_will_do_unless_one_is_wanted() -> None:
    check_preset(Path("model.pt"), "lite0", None)
    check_preset(Path("model.pt"), "lite0", "lite0")
    with pytest.raises(CheckpointError, match=r"model\.pt: is for --preset lite0, not for swin_t"):
        check_preset(Path("model.pt"), "lite0", "swin_t")
