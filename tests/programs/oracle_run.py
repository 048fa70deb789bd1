"""`nuhtc-run` with a slow oracle in the network's place, started as a process of its own.

ORACLE_SECONDS in the environment says how long it needs for a tile, a hundredth of a second else.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes.oracle import OracleEngine
from made.made_nuclei import made_bundle

import nuhtc.runtime.bundle.load
import nuhtc.runtime.pipeline.segment
from nuhtc.runtime.cli.run import main
from nuhtc.runtime.engines.engine import Detections

SECONDS = float(os.environ.get("ORACLE_SECONDS", "0.01"))


class SlowOracle(OracleEngine):
    """Takes its time for each tile."""

    def run(self, tiles: NDArray[np.uint8]) -> list[Detections]:
        time.sleep(SECONDS * len(tiles))
        return super().run(tiles)


if __name__ == "__main__":
    nuhtc.runtime.bundle.load.load_bundle = made_bundle
    nuhtc.runtime.pipeline.segment.open_engine = lambda *args: SlowOracle()
    sys.exit(main())
