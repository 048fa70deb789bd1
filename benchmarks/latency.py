"""Time a bundle's engines beside PyTorch, eager and compiled, on the same network and tile.

    python benchmarks/latency.py [BUNDLE] [--checkpoint FILE] [--pytorch eager,compile|none]
                                 [--engines ...] [--budget S] [--out FILE] [--chart FILE] [--json]

Everything `nuhtc-run bench` takes, and PyTorch. Time does not depend on the weights, so without
a checkpoint PyTorch runs the bundle's preset with random ones; but then it may propose fewer
regions, and its heads be faster. Nuclei, tiles and stages are those of
`nuhtc.runtime.bench.timings`; times are medians. `torch.compile` spends a minute or more compiling
what a run would compile once; that is not in its times, nor in the budget. Ctrl-C ends PyTorch's
part and reports what was timed.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from nuhtc.export.graphs.trace import HeadsGraph, MasksGraph, TrunkGraph
from nuhtc.runtime.bench.machine import machine
from nuhtc.runtime.bench.timings import TIMED, Report, bench_bundle, cases, time_tiles
from nuhtc.runtime.bundle.card import FEATURES
from nuhtc.runtime.bundle.load import Bundle, default_bundle, load_bundle
from nuhtc.runtime.cli.bench import parser
from nuhtc.runtime.engines.graphs import Trunk
from nuhtc.training.checkpoints.open import open_checkpoint
from nuhtc.training.network.presets import PRESETS

PYTORCH = ("eager", "compile")


class TorchGraphs:
    """The network in PyTorch, called as an engine calls its graphs."""

    def __init__(self, bundle: Bundle, checkpoint: Path | None, how: str) -> None:
        self.name = f"torch-{how}"
        preset = PRESETS[bundle.card.preset]
        if checkpoint is None:
            torch.manual_seed(0)
            network = preset.build(len(bundle.card.classes))
        else:
            network = open_checkpoint(
                checkpoint, classes=tuple(one.name for one in bundle.card.classes)
            )[0]
        network.eval()
        wrap: Callable[[Any], Any] = torch.compile if how == "compile" else lambda module: module
        self._trunk = wrap(TrunkGraph(network, preset.proposals_per_level, preset.tile))
        self._heads, self._masks = wrap(HeadsGraph(network)), wrap(MasksGraph(network))

    @torch.inference_mode()
    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """See ``Graphs.trunk``."""
        found = self._trunk(torch.from_numpy(tiles))
        return Trunk(found[4 : 4 + len(FEATURES)], *(value.numpy() for value in found[:4]))

    @torch.inference_mode()
    def heads(
        self, features: Any, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See ``Graphs.heads``."""
        found = self._heads(*features, torch.from_numpy(regions), torch.from_numpy(region_tile))
        return found[0].numpy(), found[1].numpy()

    @torch.inference_mode()
    def masks(
        self, features: Any, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See ``Graphs.masks``."""
        masks: NDArray[np.float32] = self._masks(
            *features, torch.from_numpy(regions), torch.from_numpy(region_tile)
        ).numpy()
        return masks


def draw(report: Report, path: Path) -> None:
    """Draw the stages of one tile, with the first number of nuclei, as stacked bars."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    nuclei = report.timings[0].nuclei
    most = max(one.threads for one in report.timings)
    rows = [
        one for one in report.timings if (one.batch, one.nuclei, one.threads) == (1, nuclei, most)
    ]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.5 * len(rows)), layout="constrained")
    labels = [f"{one.engine} {one.precision}" for one in rows]
    left = np.zeros(len(rows))
    for stage in TIMED:
        values = np.array([one.ms[stage] for one in rows])
        axes.barh(labels, values, left=left, label=stage)
        left += values
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.set_title(f"{report.preset}: one tile with {nuclei} nuclei, {most} threads")
    figure.legend(ncols=len(TIMED), fontsize="small", loc="outside lower center")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(argv: list[str] | None = None) -> Report:
    """Time, print, and write what was asked for."""
    options = parser()
    options.prog = "latency.py"
    options.add_argument("--checkpoint", type=Path, help="PyTorch's weights (default: random)")
    options.add_argument("--pytorch", default="eager", help="eager, compile or none")
    options.add_argument("--chart", type=Path, help="draw the stages here")
    given = options.parse_args(argv)
    how = [name for name in given.pytorch.split(",") if name != "none"]
    if set(how) - set(PYTORCH):
        options.error(f"--pytorch takes {', '.join(PYTORCH)} or none")
    bundle = load_bundle(given.bundle or default_bundle())
    share = given.budget / (1 + len(how))
    report = bench_bundle(bundle, given.engines, given.nuclei, given.batches, given.threads, share)
    jobs = cases(given.nuclei, given.batches, given.threads)
    for name in how:
        graphs = TorchGraphs(bundle, given.checkpoint, name)
        try:
            for job in jobs:
                torch.set_num_threads(job[0])
                taken = time_tiles(graphs, bundle.card, "fp32", *job, share / len(jobs))
                report.timings.append(taken)
        except KeyboardInterrupt:
            # Compiling may take a quarter of an hour; what was timed so far is worth keeping.
            report.not_run[graphs.name] = "stopped before all of it was timed"
            break
    content = {"machine": machine(), "torch": torch.__version__, **report.as_dict()}
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    if given.chart is not None:
        draw(report, given.chart)
    print(orjson.dumps(content).decode() if given.json else report.as_text())
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
