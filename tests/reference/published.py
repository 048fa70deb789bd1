"""The published network's ``state_dict`` with made-up weights that anybody can draw again.

``../shared/parity/README.md`` gives the rules; ``golden.npz`` beside it was computed with
exactly these weights.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PARITY = Path(__file__).parents[2].parent / "shared" / "parity"

Array = NDArray[np.float64]

RULES: dict[str, Callable[[Array, int], Array]] = {
    "0.02*z": lambda z, fan_in: 0.02 * z,
    "1+0.1*z": lambda z, fan_in: 1 + 0.1 * z,
    "z/sqrt(fan_in)": lambda z, fan_in: z / np.sqrt(fan_in),
    "z*sqrt(2/fan_in)": lambda z, fan_in: z * np.sqrt(2 / fan_in),
    "0.3*z/sqrt(fan_in)": lambda z, fan_in: 0.3 * z / np.sqrt(fan_in),
}


def manifest() -> dict[str, dict[str, Any]]:
    """Return every key of the published ``state_dict`` with shape, dtype and rule."""
    content: dict[str, dict[str, Any]] = json.loads(
        (PARITY / "state_dict_manifest.json").read_text()
    )
    return content


def state_dict() -> dict[str, Tensor]:
    """Draw the weights, under the published keys."""
    return {key: _tensor(key, entry) for key, entry in manifest().items()}


def _tensor(key: str, entry: dict[str, Any]) -> Tensor:
    shape, rule = entry["shape"], entry["rule"]
    if rule == "values":
        return torch.tensor(entry["values"], dtype=torch.float32)
    if rule == "keep":
        # Follows from sizes; an importer has no use for what stands in it.
        fill = 1 if key == "roi_head.kernel" else 0
        return torch.full(shape, fill, dtype=getattr(torch, entry["dtype"]))
    z = np.random.RandomState(zlib.crc32(f"c/{key}".encode())).standard_normal(shape)
    fan_in = shape[0] if key.endswith(".upsample.weight") else int(np.prod(shape[1:]))
    return torch.from_numpy(RULES[rule](z, fan_in).astype(np.float32))
