"""The benchmark of where suppression belongs runs, and both ways keep the same boxes."""

import json
import subprocess
import sys

from places import BENCHMARKS

SCRIPT = BENCHMARKS / "proposal_nms.py"


def test_a_tiny_run_times_both_ways_in_every_engine() -> None:
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--json", "--repeat", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(answer.stdout)
    assert [row["engine"] for row in rows] == ["onnxruntime", "openvino"]
    for row in rows:
        assert row["boxes"] == 100 and 0 < row["kept"] < 100, "some boxes are dropped"
        assert min(row["in_graph_ms"], row["native_ms"]) > 0
