"""The published network's ``state_dict`` with made-up weights that anybody can draw again.

``../shared/parity/README.md`` gives the rules; ``golden.npz`` beside it was computed with
exactly these weights. Tests hold PyTorch's and the bundle's answers against it with
:class:`Differences`.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from places import SHARED
from reference.outlines import paste
from scipy.optimize import linear_sum_assignment
from torch import Tensor

PARITY = SHARED / "parity"

IMAGES = (242, 148)
"""The golden tiles' numbers."""
FEATURE_LIMIT = 2e-3
"""On features whose spread is about 1 to 3; the README's."""
BOX_LIMIT_PX = 0.05

Array = NDArray[np.float64]
Golden = dict[str, Any]

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


def published_file(path: Path, meta: dict[str, Any] | None = None) -> Path:
    """Write the published file, as a user gets it."""
    torch.save({"state_dict": state_dict(), "meta": meta or {"epoch": 200}}, path)
    return path


def golden_values() -> Golden:
    """Return every golden array by name."""
    with np.load(PARITY / "golden.npz") as arrays:
        return dict(arrays)


def golden_tiles(golden: Golden) -> NDArray[np.uint8]:
    """Return the golden tiles, uint8 (2, 256, 256, 3)."""
    return np.stack([golden[f"image_{n}"] for n in IMAGES])


class Differences:
    """The largest difference seen for each golden array; each is within its limit."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def close(
        self, name: str, ours: NDArray[Any], golden: NDArray[np.floating], limit: float
    ) -> None:
        """Compare value by value."""
        assert ours.shape == golden.shape
        largest = float(np.abs(ours - golden).max())
        self.add(name, largest, limit, f"spread {golden.std():.3g}")
        assert largest <= limit

    def same_set(
        self, name: str, distance: NDArray[np.floating], limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pair up rows and columns one to one; every pair within the limit."""
        assert distance.shape[0] == distance.shape[1]
        ours, golden = linear_sum_assignment(distance)
        largest = float(distance[ours, golden].max(initial=0))
        self.add(name, largest, limit, f"{len(ours)} boxes matched, px")
        assert largest <= limit
        return ours, golden

    def nearly_same_set(
        self, name: str, distance: NDArray[np.floating], limit: float, share: float
    ) -> None:
        """Pair up rows and columns; at least a share of the columns has its partner."""
        ours, golden = linear_sum_assignment(distance)
        missed = 1 - (distance[ours, golden] <= limit).sum() / distance.shape[1]
        self.add(name, missed, 1 - share, f"share of {distance.shape[1]} boxes off by > {limit} px")
        assert missed <= 1 - share

    def same_nuclei(
        self,
        n: int,
        golden: Golden,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        labels: NDArray[np.int64],
        masks: Sequence[NDArray[np.float32]],
    ) -> None:
        """Compare the nuclei of golden tile ``n``: each has its partner, with its mask."""
        wanted = golden[f"det_boxes_{n}"]
        distance = nucleus_distance(boxes, labels, wanted, golden[f"det_labels_{n}"])
        ours, theirs = self.same_set(f"det_boxes_{n}", distance, BOX_LIMIT_PX)
        self.close(f"det_boxes_{n} score", scores[ours], wanted[theirs, 4], FEATURE_LIMIT)
        packed = np.unpackbits(golden[f"det_masks_packed_{n}"], axis=-1).astype(bool)
        worst, counted = 1.0, 0
        for mine, other in zip(ours, theirs, strict=True):
            if packed[other].sum() >= 50:
                counted += 1
                worst = min(
                    worst, overlap(paste(masks[mine], boxes[mine], 256, 256), packed[other])
                )
        self.add(f"det_masks_packed_{n}", 1 - worst, 0.02, f"1 - IoU, {counted} masks")
        assert counted > 100
        assert worst >= 0.98

    def add(self, name: str, value: float, limit: float, note: str) -> None:
        """Add a line to the table."""
        self.rows.append(f"{name:26} {value:10.2e} {limit:9.0e}   {note}")

    def table(self) -> str:
        """Return all that was compared, a line each."""
        return "\n".join(["", f"{'array':26} {'largest':>10} {'limit':>9}", *self.rows])


def box_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest difference of a coordinate, for every pair of boxes."""
    return np.asarray(np.abs(a[:, None, :4].astype(np.float64) - b[None, :, :4]).max(axis=2))


def nucleus_distance(
    a: NDArray[np.float32],
    a_labels: NDArray[np.int64],
    b: NDArray[np.float32],
    b_labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the same, far where classes differ: a region may be a nucleus of two classes."""
    return np.where(a_labels[:, None] == b_labels[None], box_distance(a, b), 1e6)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))
