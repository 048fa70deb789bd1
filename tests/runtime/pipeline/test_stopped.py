"""Ctrl-C and refused writes, with real signals and a real limit of the system."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.oracle import paint
from made.blobs import random_ellipses
from made.made_store import bytes_of, made_store
from PIL import Image
from places import PROGRAMS
from reference.validators import VALIDATORS

from nuhtc.runtime.cli.convert import main as convert
from nuhtc.runtime.store.manifest import MANIFEST
from nuhtc.runtime.writers import FORMATS

REFERENCE = PROGRAMS


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("stores") / "a.nuclei").folder


@contextlib.contextmanager
def started(script: str, *argv: object) -> Iterator["subprocess.Popen[str]"]:
    """Give a process that takes Ctrl-C, also where a shell started the tests in the background."""
    with subprocess.Popen(
        [sys.executable, str(REFERENCE / script), *map(str, argv)],
        env={**os.environ, "ORACLE_SECONDS": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_stops_a_run_with_one_line_and_keeps_its_store(tmp_path: Path) -> None:
    slide, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(paint(random_ellipses(5, 300, 300, 30, (8.0, 24.0)))).save(slide)
    with started("oracle_run.py", slide, "--out", out, "--tile", 64, "--mpp", 0.25) as process:
        deadline = time.monotonic() + 120
        while not (out / "a.nuclei" / MANIFEST).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert said == "nuhtc-run: stopped; the same command continues where it was\n"
    assert [path.name for path in out.iterdir()] == ["a.nuclei"]


def test_ctrl_c_stops_a_conversion_and_leaves_the_older_files(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert([str(store), "--out", str(out), "--to", "all"]) == 0
    before, source = files_in(out), bytes_of(store)
    argv = (store, "--out", out, "--to", "all", "--min-score", 0.6)
    with started("slow_convert.py", *argv) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (printed, said) == (
        "",
        "nuhtc-convert: stopped; what is in the output folder is whole\n",
    )
    assert files_in(out) == before
    assert bytes_of(store) == source


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let the system refuse to write any file beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", FORMATS)
def test_a_refused_write_leaves_nothing_or_the_older_files(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    full, out, source = tmp_path / "full", tmp_path / "out", bytes_of(store)
    assert convert([str(store), "--out", str(full), "--to", name]) == 0
    largest = max(map(len, files_in(full).values()))
    capsys.readouterr()
    for limit in (1, 700, largest // 2, largest - 1):
        for folder in (out, full):
            before = files_in(folder)
            with no_file_beyond(limit):
                code = convert([str(store), "--out", str(folder), "--to", name])
            assert code == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"nuhtc-convert: {folder}")
            assert "cannot be written" in line
            assert files_in(folder) == before
        assert files_in(out) == {}
    assert bytes_of(store) == source
    with no_file_beyond(largest):
        assert convert([str(store), "--out", str(out), "--to", name]) == 0
    assert sum(map(VALIDATORS[name], files_in(out))) > 0
