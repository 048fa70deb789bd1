"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.whole_files import whole_file, whole_folder


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


def test_a_folder_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    final = tmp_path / "above" / "out"
    for content in ("one", "two"):
        with whole_folder(final) as partial:
            (partial / "inner").mkdir()
            (partial / "inner" / content).write_text(content)
            assert not (final / "inner" / content).exists()
    assert [path.name for path in final.rglob("*")] == ["inner", "two"]
    assert [path.name for path in final.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, ValueError])
def test_a_folder_that_is_not_finished_leaves_the_older_one(
    tmp_path: Path, stopped: type[BaseException]
) -> None:
    final = tmp_path / "out"
    final.mkdir()
    (final / "old").touch()
    with pytest.raises(stopped), whole_folder(final) as partial:
        (partial / "new").touch()
        raise stopped
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


def test_what_is_in_a_folders_way_is_said_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "file/out"):
        pass
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(OutputError, match="run that was killed"), whole_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out.partial").exists(), "it may be another run's"
