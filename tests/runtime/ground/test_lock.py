"""Two processes never write the same files; a killed one keeps nobody out."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.oracle import paint
from made.blobs import random_ellipses
from made.made_store import made_store
from PIL import Image
from places import PROGRAMS

from nuhtc.runtime.cli.convert import main as convert
from nuhtc.runtime.ground.lock import hold
from nuhtc.runtime.results.outputs import sole_writer_of
from nuhtc.runtime.store.manifest import MANIFEST

ORACLE_RUN = PROGRAMS / "oracle_run.py"

HOLDER = """
import multiprocessing, os, sys, time
from pathlib import Path
from nuhtc.runtime.ground.lock import hold
with hold(Path(sys.argv[1])):
    helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    helper.start()
    print(helper.pid, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Give a process that holds a lock, and the number of a helper it forked."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        try:
            yield process, helper
        finally:
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, 9)


def test_a_lock_is_held_by_one_process_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with hold(path):
        done = subprocess.run(
            [sys.executable, "-c", HOLDER, str(path)], capture_output=True, text=True
        )
        assert "BlockingIOError" in done.stderr
        assert path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_keeps_nobody_out_though_its_helper_lives(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path) as (process, helper):
        with pytest.raises(BlockingIOError), hold(path):
            pass
        assert path.exists(), "whoever is refused leaves the lock alone"
        process.kill()
        process.wait()
        os.kill(helper, 0)
        assert path.exists(), "nobody tidied up"
        with hold(path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_before_it_was_taken_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file opened here is removed by its holder; the one that others see must be taken."""
    path = tmp_path / ".lock"
    lockf, removed = fcntl.lockf, []

    def late(handle: int, how: int) -> None:
        if not removed:
            removed.append(path.stat().st_ino)
            path.unlink()
        lockf(handle, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    with hold(path):
        assert path.exists()
        monkeypatch.undo()
        done = subprocess.run(
            [sys.executable, "-c", HOLDER, str(path)], capture_output=True, text=True
        )
        assert "BlockingIOError" in done.stderr


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    with hold(tmp_path / ".lock"):
        assert "no locks" in caplog.text


def start_run(slide: Path, out: Path) -> "subprocess.Popen[str]":
    """Start a run that would take an hour."""
    return subprocess.Popen(
        [sys.executable, str(ORACLE_RUN), str(slide), "--out", str(out), "--tile", "64"],
        env={**os.environ, "ORACLE_SECONDS": "60"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_and_a_conversion_are_refused_while_one_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(paint(random_ellipses(5, 500, 600, 100, (8.0, 24.0)))).save(slide)
    other = made_store(tmp_path / "elsewhere" / "a.nuclei").folder
    with start_run(slide, out) as first:
        deadline = time.monotonic() + 120
        while not (out / "a.nuclei" / MANIFEST).exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        with start_run(slide, out) as second:
            assert second.stderr is not None
            said = second.stderr.read().splitlines()
        assert second.returncode == 1
        refusals = [line for line in said if "is writing a there" in line]
        assert len(refusals) == 1
        assert refusals[0].startswith(f"nuhtc-run: {out}: another nuhtc-run")
        assert refusals[0].endswith("choose another --out")

        assert convert([str(other), "--out", str(out), "--to", "all"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"nuhtc-convert: {out}: another nuhtc-run")
        assert sorted(path.name for path in out.iterdir()) == [".a.lock", "a.nuclei"]
        assert first.poll() is None
        first.kill()
    assert convert([str(other), "--out", str(out), "--to", "qupath"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.geojson.gz", "a.nuclei"]


def test_two_slides_of_one_folder_run_at_once(tmp_path: Path) -> None:
    with holder(tmp_path / ".a.lock"), sole_writer_of(tmp_path, "b"):
        assert (tmp_path / ".b.lock").exists()
