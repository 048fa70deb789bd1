"""`nuhtc-train` with the tiny preset, for tests that start processes of their own.

    python -m torch.distributed.run --nproc-per-node 2 train_tiny.py --preset tiny ...

With STOP_BEFORE_STEP in the environment every process dies when that step begins.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from made.tiny import TINY, TINY_LESSON

from nuhtc.training.cli.train import main
from nuhtc.training.loop.loop import Run
from nuhtc.training.loop.recipe import LESSONS
from nuhtc.training.network.presets import PRESETS


def stop_before(step: int) -> None:
    inner = Run._one_step

    def wrapped(run: Run, batch: Any) -> dict[str, float]:
        if run.step == step:
            os._exit(9)
        return inner(run, batch)

    Run._one_step = wrapped  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    PRESETS["tiny"], LESSONS["tiny"] = TINY, TINY_LESSON
    if "STOP_BEFORE_STEP" in os.environ:
        stop_before(int(os.environ["STOP_BEFORE_STEP"]))
    sys.exit(main(sys.argv[1:]))
