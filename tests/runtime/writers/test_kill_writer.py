"""`kill -9` at random moments: what stands under a final name is always whole."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import PROGRAMS
from reference.validators import VALIDATORS

from nuhtc.runtime.writers import FORMATS

SCRIPT = PROGRAMS / "endless_writer.py"
KILLS = 50


@pytest.mark.slow
def test_fifty_kills_never_leave_a_broken_file(tmp_path: Path) -> None:
    """A process that writes in a loop is killed ten times for each format."""
    dice = random.Random(7)
    checked = 0
    for name in FORMATS:
        folder = tmp_path / name
        folder.mkdir()
        for _ in range(KILLS // len(FORMATS)):
            with subprocess.Popen(
                [sys.executable, str(SCRIPT), name, str(folder)], stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(dice.random() * 0.25)
                os.kill(process.pid, signal.SIGKILL)
            for path in folder.rglob("*"):
                if path.is_file() and not path.name.endswith(".partial"):
                    assert path.suffix in {".gz", ".json", ".gpkg", ".parquet"}
                    assert VALIDATORS[name](path) > 0
                    checked += 1
    assert checked > KILLS // 2
