"""The writers' benchmarks run, and what they print can be read by a program."""

import json
import subprocess
import sys

from places import BENCHMARKS


def run(script: str, *options: str) -> object:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, "--nuclei", "2000", "--json", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_tiny_run_prints_every_writer_beside_the_plain_way() -> None:
    timings = run("writers.py")
    assert [one["writer"] for one in timings] == [
        *("store", "qupath", "dsa", "sql", "coco", "geoparquet")
    ]
    for one in timings:
        assert one["per_second"] > 0
        assert one["plain_per_second"] > 0
        assert one["bytes_each"] > 10


def test_peak_memory_is_measured_step_by_step() -> None:
    for step in ("overlay", "import .gpkg"):
        measured = run("memory.py", "--only", step)
        assert measured["nuclei"] == 2000
        assert list(measured["peak_megabytes"]) == ["store", step]
        assert min(measured["peak_megabytes"].values()) > 10
