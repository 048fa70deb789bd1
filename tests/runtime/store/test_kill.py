"""`kill -9` in the middle of a slide, then the same command again."""

import random
import subprocess
import sys
import time
from pathlib import Path

from fakes.oracle import paint
from made.blobs import random_ellipses
from made.made_store import bytes_of
from PIL import Image
from places import PROGRAMS

from nuhtc.runtime.store.ledger import read_ledger

SCRIPT = PROGRAMS / "oracle_run.py"


def start(slide: Path, out: Path) -> "subprocess.Popen[bytes]":
    argv = [slide, "--out", out, "--tile", 64, "--overlap", 32, "--threads", 1, "--batch", 3]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, argv)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    slide = tmp_path / "a.png"
    Image.fromarray(paint(random_ellipses(5, 800, 1000, 300, (8.0, 24.0)))).save(slide)
    with start(slide, tmp_path / "whole") as process:
        assert process.wait(timeout=300) == 0

    out, dice = tmp_path / "out", random.Random(1)
    seen = 0
    for _ in range(3):
        # Killed once it has done at least one part more, at some moment of the next.
        deadline = time.monotonic() + 120
        with start(slide, out) as process:
            while len(read_ledger(out / "a.nuclei")[0]) <= seen and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(dice.random() * 0.3)
            process.kill()
        seen = len(read_ledger(out / "a.nuclei")[0])
        assert seen >= 1
    with start(slide, out) as process:
        said = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 0, said
    assert "from an earlier run" in said
    assert bytes_of(out / "a.nuclei") == bytes_of(tmp_path / "whole" / "a.nuclei")
    for path in (tmp_path / "whole").iterdir():
        if path.is_file() and not path.name.endswith(".summary.json"):
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name
