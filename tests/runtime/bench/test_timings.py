"""`nuhtc-run bench`: what is timed is what was asked for, and what cannot run is named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.toy_bundle import toy_bundle
from numpy.typing import NDArray
from places import BENCHMARKS

from nuhtc.runtime.bench.timings import TIMED, bench_bundle, cases, time_tiles
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.cli.run import main
from nuhtc.runtime.engines.open import open_engine

SMALL = ["--engines", "cpu,cuda", "--threads", "1", "--budget", "0"]


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


class Counted:
    """Graphs that note how many regions each is given."""

    def __init__(self, graphs: Any) -> None:
        self._graphs, self.name = graphs, graphs.name
        self.heads_given: set[tuple[int, ...]] = set()
        self.masks_given: set[tuple[int, ...]] = set()
        self.trunk = graphs.trunk

    def heads(self, features: object, regions: Any, tile: NDArray[np.int64]) -> Any:
        self.heads_given.add(tuple(np.bincount(tile).tolist()))
        return self._graphs.heads(features, regions, tile)

    def masks(self, features: object, regions: Any, tile: NDArray[np.int64]) -> Any:
        self.masks_given.add(tuple(np.bincount(tile).tolist()))
        return self._graphs.masks(features, regions, tile)


@pytest.mark.parametrize(("batch", "nuclei"), [(1, 1), (1, 7), (3, 40)])
def test_a_tile_holds_as_many_nuclei_as_asked_for(toy: Bundle, batch: int, nuclei: int) -> None:
    graphs = Counted(open_engine(toy, "cpu", threads=1).graphs)
    timing = time_tiles(graphs, toy.card, "fp32", 1, batch, nuclei, 0)
    assert graphs.masks_given == {(nuclei,) * batch}
    assert graphs.heads_given == {(timing.regions,) * batch}
    assert timing.regions >= nuclei
    assert (timing.batch, timing.nuclei, timing.engine) == (batch, nuclei, "cpu")
    assert set(timing.ms) == set(TIMED) and all(value > 0 for value in timing.ms.values())
    assert timing.tiles_per_second * timing.total_ms == pytest.approx(1000)


def test_every_case_once() -> None:
    found = cases([50, 10], [1, 4], [1, 2])
    assert len(found) == len(set(found))
    assert set(found) == {(2, 1, 50), (2, 1, 10), (1, 1, 50), (1, 4, 50), (2, 4, 50)}


def test_what_does_not_run_is_named_with_its_reason(toy: Bundle) -> None:
    report = bench_bundle(toy, ["cpu", "tensorrt-rtx"], [2], [1], [1], 0)
    assert [one.engine for one in report.timings] == ["cpu"]
    assert set(report.not_run) == {"tensorrt-rtx fp32"}
    assert report.not_run["tensorrt-rtx fp32"] in report.as_text()


def test_the_command_prints_a_table_or_json(
    toy: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["bench", str(toy.folder), *SMALL, "--nuclei", "3", "--batches", "1,2"]
    assert main([*given, "--out", str(tmp_path / "bench.json")]) == 0
    table = capsys.readouterr().out
    assert main([*given, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "bench.json").read_bytes())
    assert content["machine"] == written["machine"] and content["machine"]["cpu"]
    assert [one["batch"] for one in content["timings"]] == [1, 2]
    assert all(stage in table for stage in TIMED)


@pytest.mark.parametrize("wrong", [["--engines", "steam"], ["--nuclei", "0"], ["--threads", "x"]])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *wrong])
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.slow
def test_the_benchmark_runs_pytorch_beside_the_engines(tmp_path: Path) -> None:
    script = BENCHMARKS / "latency.py"
    sizes = ["--nuclei", "2", "--batches", "1", "--json", "--chart", str(tmp_path / "bars.png")]
    done = subprocess.run(
        [sys.executable, str(script), *SMALL, *sizes],
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    content = json.loads(done.stdout)
    ran = [(one["engine"], one["precision"]) for one in content["timings"]]
    # The model in the package comes in two precisions.
    assert ran == [("cpu", "fp32"), ("cpu", "int8"), ("torch-eager", "fp32")]
    assert (tmp_path / "bars.png").stat().st_size > 0
