"""The evaluation's benchmark runs, and what it prints can be read by a program."""

import json
import subprocess
import sys

from places import BENCHMARKS

SCRIPT = BENCHMARKS / "evaluation.py"


def test_a_tiny_run_prints_both_ways() -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--json"], capture_output=True, text=True, check=True
    )
    timing = json.loads(answer.stdout)
    assert timing["pictures"] == 2 and timing["nuclei_annotated"] >= 35
    assert timing["seconds"] == timing["measuring_seconds"] + timing["reporting_seconds"] > 0
    assert timing["subset_plain_seconds"] > 0 and timing["subset_overlaps_seconds"] > 0
    assert 0.3 < timing["mean_pq"] < 0.95, "neither perfect nor nothing"
