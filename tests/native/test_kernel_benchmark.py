"""The kernels' benchmark runs, and what it prints can be read by a program."""

import json
import subprocess
import sys

from places import BENCHMARKS

SCRIPT = BENCHMARKS / "kernels.py"


def test_a_tiny_run_prints_every_kernel_beside_its_rival() -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--json", "--repeat", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    timings = json.loads(answer.stdout)
    assert [each["kernel"] for each in timings] == [
        "trace_masks",
        "trace_masks",
        "trace_masks",
        "watershed_boxes",
        "nms",
        "nms",
    ]
    assert all(each["seconds"] > 0 and each["rival_seconds"] > 0 for each in timings)
