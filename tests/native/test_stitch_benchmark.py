"""The stitching benchmark runs, and what it prints can be read by a program."""

import json
import subprocess
import sys

from places import BENCHMARKS

SCRIPT = BENCHMARKS / "stitch.py"


def test_a_tiny_run_prints_time_and_memory_beside_its_rival() -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--json", "--repeat", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(answer.stdout)
    assert found["candidates"] > found["rival_candidates"] > 100
    assert found["seconds"] > 0
    assert found["rival_seconds"] > found["tree_seconds"] > 0
    assert found["peak_mb"] >= 0
