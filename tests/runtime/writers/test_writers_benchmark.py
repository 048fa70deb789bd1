"""The writers' benchmark runs, and what it prints can be read by a program."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "writers.py"


def run(*options: str) -> str:
    return subprocess.run(
        [sys.executable, SCRIPT, "--nuclei", "2000", "--json", *options],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_tiny_run_prints_every_writer_beside_the_plain_way() -> None:
    timings = json.loads(run())
    assert [one["writer"] for one in timings] == [
        *("store", "qupath", "dsa", "sql", "coco", "geoparquet")
    ]
    for one in timings:
        assert one["per_second"] > 0
        assert one["plain_per_second"] > 0
        assert one["bytes_each"] > 10


def test_peak_memory_is_measured() -> None:
    peaks = json.loads(run("--memory", "--only", "sql"))
    assert peaks["sql"] > 10
