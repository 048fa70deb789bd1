"""From one traced network to graphs of every precision asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from nuhtc.export.graphs.half import to_half
from nuhtc.export.graphs.quantise import QUANTISED, calibration_feeds, quantise
from nuhtc.export.graphs.trace import export_graphs, store_half
from nuhtc.runtime.bundle.card import GRAPHS, GraphSet
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset

FLOAT = {name: f"{name}.onnx" for name in GRAPHS}
HALF = {name: f"{name}.fp16.onnx" for name in GRAPHS}
INTEGER = {name: f"{name}.int8.onnx" if name in QUANTISED else FLOAT[name] for name in GRAPHS}
"""What each precision's graphs are called; int8 shares those it has no own of with fp32."""

FILES = tuple(dict.fromkeys([*FLOAT.values(), *HALF.values(), *INTEGER.values()]))
"""Every name that a graph may have."""


@dataclass(frozen=True)
class Wanted:
    """The precisions a bundle is to hold."""

    precisions: tuple[str, ...] = ("fp32",)
    """some of ``nuhtc.runtime.bundle.card.STORED``"""
    storage: str = "float16"
    """how fp32 stores its weights: ``float16``, half the size, or ``float32``, as they are"""
    calibration: NDArray[np.uint8] | None = None
    """tiles that int8 measures ranges on, (B, side, side, 3)"""
    calibration_source: str = ""
    """what these tiles are"""


def write_graphs(
    network: NuHTC, preset: Preset, folder: Path, wanted: Wanted
) -> dict[str, GraphSet]:
    """Write the graphs of a network into a folder.

    PyTorch traces the network once; all other graphs are made from those.

    Parameters
    ----------
    network
        In evaluation mode.
    preset
        What the network is.
    folder
        An existing, empty folder.
    wanted
        Precisions, and what they need.

    Returns
    -------
    dict
        For each precision its files, as the card says it.
    """
    export_graphs(network, folder, per_level=preset.proposals_per_level, tile=preset.tile)
    result = {}
    if "fp32" in wanted.precisions:
        result["fp32"] = GraphSet(**FLOAT, storage=wanted.storage)
    if "fp16" in wanted.precisions:
        for name in GRAPHS:
            onnx.save(to_half(onnx.load(folder / FLOAT[name])), folder / HALF[name])
        result["fp16"] = GraphSet(**HALF, storage="float16")
    if "int8" in wanted.precisions:
        if wanted.calibration is None:
            raise ValueError("int8 needs tiles to calibrate on")
        feeds = calibration_feeds(network, preset, wanted.calibration)
        for name in QUANTISED:
            quantise(folder / FLOAT[name], folder / INTEGER[name], feeds[name])
        result["int8"] = GraphSet(**INTEGER, storage="int8", calibration=wanted.calibration_source)
    used = {name for one in result.values() for name in (one.trunk, one.heads, one.masks)}
    for name in FLOAT.values():
        if name not in used:
            (folder / name).unlink()
        elif wanted.storage == "float16":
            store_half(folder / name)
    return result
