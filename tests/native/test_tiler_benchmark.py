"""The tiler's benchmark runs, and what it prints can be read by a program."""

import json
import subprocess
import sys

from places import BENCHMARKS

SCRIPT = BENCHMARKS / "tiler.py"


def test_a_tiny_run_prints_every_way_beside_its_rivals() -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--json", "--repeat", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    timings = json.loads(answer.stdout)
    ways = [each["way"].split(",")[0] for each in timings]
    assert set(ways) == {"tiler", "tiler through OpenSlide", "openslide-python", "tifffile"}
    assert all(each["seconds"] > 0 and each["megapixels"] == 0.09 for each in timings)
