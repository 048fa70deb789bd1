"""Give every kernel what nobody should: `python tests/fuzz_kernels.py [SECONDS]`.

Arguments start from good ones and are spoilt at random: other shapes, dtypes, strides, read-only
memory, NaN, infinities, the ends of the integer range. A kernel may refuse them by TypeError or
ValueError; any other exception, or a crash, is a finding. What it accepts it must answer twice
alike. Run it under `tests/sanitize.sh --fuzz SECONDS` to see reads beyond an array's end too.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nuhtc.native.outlines import trace_masks
from nuhtc.native.proposals import nms, watershed_boxes
from nuhtc.native.redraw import redraw_rings
from nuhtc.native.rle import rle_texts
from nuhtc.native.shapes import shape_features
from nuhtc.native.stitch import drop_worse, find_rivals, overlap_areas, resolve_borders
from nuhtc.native.textures import canny_edges, texture_features
from nuhtc.native.tiler import resample, source_span

INT_EDGES = (0, 1, -1, 2**31 - 1, -(2**31), 2**31 - 2, 2**62, -(2**62), 7)
FLOAT_EDGES = (0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1e-38, 3e38, -3e38, 2.0**31, 0.5)
SCALARS = (-1, 0, 1, 2, 7, 0.0, 0.5, 1.0, -0.5, np.nan, np.inf, 2**31, 2**40, True, None, "8")

Arguments = dict[str, Any]


def rings(rng: np.random.Generator) -> tuple[Arguments, int]:
    """Return valid rings somewhere, also near the ends of the range, and their number."""
    count = int(rng.integers(0, 6))
    masks = rng.random((count, 8, 8)).astype(np.float32)
    corner = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 12, (count, 2))], axis=1)
    coords, offsets = trace_masks(masks, boxes.astype(np.float32), 32, 32)[:2]
    shift = int(rng.choice([0, 2**31 - 40, -(2**31), -17]))
    return {"coords": (coords + np.int64(shift)).astype(np.int32), "offsets": offsets}, count


def answers(rng: np.random.Generator) -> Arguments:
    """Return candidates whose boxes, areas and rings need not belong together."""
    given_rings, count = rings(rng)
    corner = rng.integers(-50, 50, (count, 2))
    box = np.concatenate([corner, corner + rng.integers(-3, 40, (count, 2))], axis=1)
    return {
        **given_rings,
        "bbox": box.astype(np.int32),
        "area": rng.integers(-5, 900, count),
        "tile": rng.integers(0, 4, count).astype(np.int32),
        "owned": rng.random(count) < 0.5,
        "cut": rng.random(count) < 0.5,
        "score": rng.random(count).astype(np.float32),
        "probe": rng.random(count) < 0.5,
        "windows": rng.integers(-50, 50, (count, 4)).astype(np.int32),
        "share": 0.5,
    }


def masks(rng: np.random.Generator) -> Arguments:
    """Return masks and boxes in, across and outside a tile."""
    count, size = int(rng.integers(0, 5)), int(rng.choice([1, 2, 3, 5, 28]))
    boxes = rng.uniform(-60, 120, (count, 4)).astype(np.float32)
    return {
        "masks": rng.random((count, size, size)).astype(np.float32),
        "boxes": boxes
        if rng.random() < 0.3
        else np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4),
        "width": int(rng.integers(1, 70)),
        "height": int(rng.integers(1, 70)),
        "threshold": 0.5,
    }


def foreground(rng: np.random.Generator) -> Arguments:
    """Return a map and a tile's size."""
    shape = rng.integers(0, 20, 2)
    return {
        "logits": rng.normal(size=shape).astype(np.float32),
        "width": int(rng.integers(1, 70)),
        "height": int(rng.integers(1, 70)),
        "blur_sigma": 1.1,
        "opening": int(rng.integers(0, 4)),
        "min_area": int(rng.integers(0, 20)),
        "max_fraction": float(rng.random()),
        "split": float(rng.choice([0, 0.5, 3])),
    }


def boxes(rng: np.random.Generator) -> Arguments:
    """Return scored boxes."""
    count = int(rng.integers(0, 30))
    return {
        "boxes": rng.uniform(0, 50, (count, 4)).astype(np.float32),
        "scores": rng.random(count).astype(np.float32),
        "iou_threshold": 0.5,
        "groups": rng.integers(0, 3, count),
        "max_keep": int(rng.integers(-1, 9)),
    }


def drawing(rng: np.random.Generator) -> Arguments:
    """Return rings to unite and to take away."""
    given_rings, count = rings(rng)
    drawn = int(rng.integers(0, 8)) if count else 0
    inner = np.sort(rng.integers(0, drawn + 1, 3))
    return {
        **given_rings,
        "rings": rng.integers(0, max(count, 1), drawn),
        "takes": rng.random(drawn) < 0.4,
        "ends": np.concatenate([[0], inner, [drawn]]),
    }


def pairs(rng: np.random.Generator) -> Arguments:
    """Return rings and pairs of them."""
    given_rings, count = rings(rng)
    return {**given_rings, "pairs": rng.integers(0, max(count, 1), (3 if count else 0, 2))}


def worse(rng: np.random.Generator) -> Arguments:
    """Return pairs of candidates."""
    return {"pairs": rng.integers(0, 9, (12, 2)).astype(np.int32), "count": 9}


def texts(rng: np.random.Generator) -> Arguments:
    """Return rings and sizes of pictures."""
    given_rings, count = rings(rng)
    return {**given_rings, "sizes": rng.integers(1, 40, (count, 2))}


def pixels(rng: np.random.Generator) -> Arguments:
    """Return a source that is large enough for what is wanted of it, or a little too small."""
    ratio = float(rng.choice([0.3, 0.5, 1, 1.7, 3.25]))
    origin = rng.integers(-20, 20, 2).tolist()
    size = rng.integers(1, 12, 2).tolist()
    spans = [
        source_span(low, low + length, ratio) for low, length in zip(origin, size, strict=True)
    ]
    shape = [stop - start - int(rng.random() < 0.1) for start, stop in reversed(spans)]
    return {
        "source": rng.integers(0, 256, (*[max(side, 0) for side in shape], 3)).astype(np.uint8),
        "source_origin": [start for start, _ in spans],
        "ratio": (ratio, ratio),
        "origin": origin,
        "size": size,
    }


def labelled(rng: np.random.Generator) -> Arguments:
    """Return a picture with nuclei that need not be in their boxes."""
    height, width = (int(side) for side in rng.integers(1, 30, 2))
    count = int(rng.integers(0, 5))
    corner = rng.integers(0, (width, height), (count, 2))
    far = rng.integers(corner, (width, height)) + 1
    return {
        "label": rng.integers(0, 4, (height, width)).astype(np.int32),
        "numbers": rng.integers(1, 4, count).astype(np.int32),
        "boxes": np.concatenate([corner, far], axis=1).astype(np.int32),
        "channel": rng.integers(0, 256, (height, width)).astype(np.uint8),
        "edges": rng.random((height, width)) < 0.3,
    }


def surface(rng: np.random.Generator) -> Arguments:
    """Return a picture to find edges in."""
    return {"smooth": rng.random(rng.integers(0, 20, 2))}


KERNELS: dict[Callable[..., Any], Callable[[np.random.Generator], Arguments]] = {
    trace_masks: masks,
    watershed_boxes: foreground,
    nms: boxes,
    redraw_rings: drawing,
    overlap_areas: pairs,
    find_rivals: answers,
    resolve_borders: answers,
    drop_worse: worse,
    rle_texts: texts,
    resample: pixels,
    shape_features: labelled,
    texture_features: labelled,
    canny_edges: surface,
}


def spoil(rng: np.random.Generator, value: Any) -> Any:
    """Return something that is not quite the value."""
    if not isinstance(value, np.ndarray):
        return SCALARS[rng.integers(len(SCALARS))]
    way = rng.integers(8)
    if way == 0:
        other = value[: len(value) // 2]
    elif way == 1:
        other = np.concatenate([value, value])
    elif way == 2:
        other = value.astype(rng.choice(["f8", "i2", "u1", "f4", "i4", "i8", "?"]))
    elif way == 3:
        other = value[..., None] if rng.random() < 0.5 else value.reshape(-1)
    elif way == 4:
        other = np.repeat(value, 2, axis=0)[::2]
    elif way == 5:
        other = np.asfortranarray(value[::-1])
        other.flags.writeable = False
    else:
        other = value.copy()
        edges = FLOAT_EDGES if value.dtype.kind == "f" else INT_EDGES
        if value.size and value.dtype.kind in "fiu":
            for _ in range(int(rng.integers(1, 4))):
                edge = edges[rng.integers(len(edges))]
                if value.dtype.kind != "f":
                    low, high = np.iinfo(value.dtype).min, np.iinfo(value.dtype).max
                    edge = min(max(edge, low), high)
                other.flat[rng.integers(value.size)] = edge
    return other


def alike(one: Any, other: Any) -> bool:
    """Tell whether two answers are equal to the last bit."""
    ones, others = (each if isinstance(each, tuple) else (each,) for each in (one, other))
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(ones, others, strict=True)
    )


@settings(
    max_examples=500,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(list(KERNELS)), st.integers(0, 2**64 - 1), st.integers(0, 2))
def survives(kernel: Callable[..., Any], seed: int, spoilt: int) -> None:
    """Call a kernel with good arguments of which some are spoilt."""
    rng = np.random.default_rng(seed)
    arguments = KERNELS[kernel](rng)
    for name in rng.permutation(list(arguments))[:spoilt].tolist():
        arguments[name] = spoil(rng, arguments[name])
    try:
        answer = kernel(**arguments)
    except (TypeError, ValueError):
        counts["refused"] += 1
        return
    assert alike(kernel(**arguments), answer), f"{kernel.__name__} answers the same twice"
    counts["answered"] += 1


counts = {"answered": 0, "refused": 0}

if __name__ == "__main__":
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 180)
    while time.monotonic() < end:
        survives()
    print(f"{counts['answered']:,} answered, {counts['refused']:,} refused, nothing found")
