"""ONNX Runtime: a bundle's graphs on the CPU."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nuhtc.runtime.bundle import Bundle
from nuhtc.runtime.engines.graphs import FEATURES, Trunk, check_classes, first_line
from nuhtc.runtime.errors import EngineError


class OnnxRuntimeGraphs:
    """A bundle's graphs in ONNX Runtime; features stay in its buffers.

    Parameters
    ----------
    bundle
        A checked bundle.
    precision
        Whose graphs to load.
    threads
        CPU threads; 0 takes every core.

    Raises
    ------
    BundleError
        The bundle has no graphs of this precision.
    EngineError
        ONNX Runtime cannot load the graphs, or they are not the card's.
    """

    name = "cpu"

    def __init__(self, bundle: Bundle, precision: str = "fp32", threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Each graph has its own threads, which by default spin for a while after a call and so
        # take the cores from the next graph's: together the three took twice their sum.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._trunk = _session(bundle.graph("trunk", precision), options)
        self._heads = _session(bundle.graph("heads", precision), options)
        self._masks = _session(bundle.graph("masks", precision), options)
        shape = next(o.shape for o in self._heads.get_outputs() if o.name == "probabilities")
        check_classes(bundle, shape[-1])

    def trunk(self, tiles: NDArray[np.uint8]) -> Trunk:
        """Run the trunk; see ``Graphs.trunk``."""
        found = _call(self._trunk, {"tiles": onnxruntime.OrtValue.ortvalue_from_numpy(tiles)})
        return Trunk(
            {key: found[key] for key in FEATURES},
            found["boxes"].numpy(),
            found["scores"].numpy(),
            found["levels"].numpy(),
            found["foreground"].numpy(),
        )

    def heads(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the box stages; see ``Graphs.heads``."""
        found = _call(self._heads, _inputs(features, regions, region_tile))
        return found["boxes"].numpy(), found["probabilities"].numpy()

    def masks(
        self, features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the mask stages; see ``Graphs.masks``."""
        found = _call(self._masks, _inputs(features, regions, region_tile))
        return cast(NDArray[np.float32], found["masks"].numpy())


def _inputs(
    features: object, regions: NDArray[np.float32], region_tile: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        **cast(dict[str, Any], features),
        "regions": onnxruntime.OrtValue.ortvalue_from_numpy(regions),
        "region_tile": onnxruntime.OrtValue.ortvalue_from_numpy(region_tile),
    }


def _session(path: Path, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds, without a common root
        raise EngineError(
            f"{path}: ONNX Runtime cannot load it ({first_line(error)}); export the model again"
        ) from error


def _call(session: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    try:
        values = session.run_with_ort_values(names, inputs)
    except Exception as error:  # as above
        raise EngineError(f"ONNX Runtime failed ({first_line(error)})") from error
    return dict(zip(names, values, strict=True))
