"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.whole_files import whole_file


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with whole_file(final) as partial:
        partial.write_text("whole")
        assert not final.exists()
        assert partial.parent == final.parent, "a rename must not cross file systems"
    assert final.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize("stopped", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_stops_the_block_leaves_what_was_there(
    tmp_path: Path, stopped: type[BaseException]
) -> None:
    final = tmp_path / "a.txt"
    final.write_text("older")
    with pytest.raises(stopped), whole_file(final) as partial:
        partial.write_text("half")
        raise stopped
    assert final.read_text() == "older"
    assert list(tmp_path.iterdir()) == [final]


def test_a_missing_folder_a_folder_in_the_way_and_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").write_text("")
    for final in (tmp_path / "none" / "a", tmp_path / "file" / "a", tmp_path / "taken"):
        with pytest.raises(OutputError, match=str(final)), whole_file(final) as partial:
            partial.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with (
        pytest.raises(OutputError, match="disk is full"),
        whole_file(final),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
    assert list(tmp_path.iterdir()) == []
