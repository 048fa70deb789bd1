"""The heads' benchmark runs, checks both ways against each other, and prints JSON."""

import json
import subprocess
import sys

import pytest
from places import BENCHMARKS

SCRIPT = BENCHMARKS / "heads.py"


@pytest.mark.parametrize("preset", ["lite0", "swin_t"])
def test_a_tiny_run_times_both_ways(preset: str) -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--preset", preset, "--tiny", "--json", "--no-onnx"],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(answer.stdout)
    assert (result["preset"], result["regions"]) == (preset, 20)
    assert min(result["pytorch"].values()) > 0
    assert "onnxruntime" not in result
