"""What a kernel says when it is given the wrong thing: always the argument's name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nuhtc.native.outlines import trace_masks
from nuhtc.native.proposals import nms, watershed_boxes
from nuhtc.native.redraw import redraw_rings
from nuhtc.native.shapes import shape_features
from nuhtc.native.stitch import drop_worse, find_rivals, overlap_areas, resolve_borders
from nuhtc.native.textures import texture_features

SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.int32)
RINGS: dict[str, Any] = {"coords": SQUARE, "offsets": np.array([0, 4])}
GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    trace_masks: {
        "masks": np.ones((2, 4, 4), np.float32),
        "boxes": np.array([[0, 0, 3, 3], [1, 1, 4, 4]], np.float32),
        "width": 8,
        "height": 8,
        "threshold": 0.5,
    },
    watershed_boxes: {
        "logits": np.ones((4, 4), np.float32),
        "width": 8,
        "height": 8,
        "blur_sigma": 1.1,
        "opening": 2,
        "min_area": 10,
        "max_fraction": 0.25,
        "split": 1.5,
    },
    nms: {
        "boxes": np.array([[0, 0, 3, 3], [1, 1, 4, 4]], np.float32),
        "scores": np.ones(2, np.float32),
        "iou_threshold": 0.5,
        "groups": np.zeros(2, np.int64),
    },
    redraw_rings: {
        **RINGS,
        "rings": np.zeros(2, np.int64),
        "takes": np.array([False, True]),
        "ends": np.array([0, 1, 2]),
    },
    overlap_areas: {**RINGS, "pairs": np.zeros((1, 2), np.int64)},
    resolve_borders: {
        **RINGS,
        "bbox": np.array([[0, 0, 1, 1]], np.int32),
        "area": np.ones(1, np.int64),
        "tile": np.zeros(1, np.int32),
        "owned": np.ones(1, np.bool_),
        "cut": np.zeros(1, np.bool_),
        "score": np.ones(1, np.float32),
        "probe": np.ones(1, np.bool_),
        "windows": np.array([[0, 0, 9, 9]], np.int32),
        "share": 0.5,
    },
    texture_features: {
        "label": np.ones((4, 5), np.int32),
        "numbers": np.ones(1, np.int32),
        "boxes": np.array([[0, 0, 5, 4]], np.int32),
        "channel": np.ones((4, 5), np.uint8),
        "edges": np.ones((4, 5), np.bool_),
    },
}
GOOD[find_rivals] = GOOD[resolve_borders]
GOOD[shape_features] = {
    "label": np.array([[0, 1, 1], [70_000, 70_000, 0]], np.int32),
    "numbers": np.array([1, 70_000], np.int32),
    "boxes": np.array([[1, 0, 3, 1], [0, 1, 2, 2]], np.int32),
    "channel": np.full((2, 3), 9, np.uint8),
}
GOOD[drop_worse] = {"pairs": np.array([[1, 0]], np.int32), "count": 2}
ARRAYS = [
    (kernel, name)
    for kernel, arguments in GOOD.items()
    for name, value in arguments.items()
    if isinstance(value, np.ndarray)
]


@pytest.mark.parametrize("kernel", GOOD)
def test_the_good_arguments_are_good(kernel: Callable[..., Any]) -> None:
    kernel(**GOOD[kernel])


@pytest.mark.parametrize("kernel, name", ARRAYS)
def test_anything_but_an_array_is_refused_by_name(kernel: Callable[..., Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a NumPy array, not list"):
        kernel(**{**GOOD[kernel], name: GOOD[kernel][name].tolist()})


@pytest.mark.parametrize("kernel, name", ARRAYS)
@pytest.mark.parametrize("dtype", [np.float64, np.int16, ">f4"])
def test_another_dtype_is_refused_by_name(
    kernel: Callable[..., Any], name: str, dtype: str
) -> None:
    with pytest.raises(TypeError, match=f"{name} must have dtype"):
        kernel(**{**GOOD[kernel], name: GOOD[kernel][name].astype(dtype)})


@pytest.mark.parametrize("kernel, name", ARRAYS)
def test_another_shape_is_refused_by_name(kernel: Callable[..., Any], name: str) -> None:
    value = GOOD[kernel][name]
    for other in (value[None], value[..., 0]):
        with pytest.raises(ValueError, match=f"{name} must have shape"):
            kernel(**{**GOOD[kernel], name: other})


@pytest.mark.parametrize(
    "kernel, name", [(kernel, name) for kernel, name in ARRAYS if name not in ("logits", "pairs")]
)
def test_another_length_is_refused(kernel: Callable[..., Any], name: str) -> None:
    value = GOOD[kernel][name]
    with pytest.raises(ValueError, match="must"):
        kernel(**{**GOOD[kernel], name: np.concatenate([value, value])})


@pytest.mark.parametrize(
    "kernel, name, value, error",
    [
        (trace_masks, "masks", np.ones((2, 4, 5), np.float32), ValueError),
        (trace_masks, "masks", np.ones((2, 0, 0), np.float32), ValueError),
        (trace_masks, "width", 0, ValueError),
        (trace_masks, "height", 1 << 16, ValueError),
        (trace_masks, "width", 8.0, TypeError),
        (trace_masks, "threshold", 0.0, ValueError),
        (trace_masks, "threshold", np.nan, ValueError),
        (watershed_boxes, "width", -1, ValueError),
        (watershed_boxes, "height", True, TypeError),
        (watershed_boxes, "blur_sigma", 0.0, ValueError),
        (watershed_boxes, "blur_sigma", np.inf, ValueError),
        (watershed_boxes, "opening", -1, ValueError),
        (watershed_boxes, "min_area", -1, ValueError),
        (watershed_boxes, "max_fraction", np.nan, ValueError),
        (watershed_boxes, "split", np.nan, ValueError),
        (watershed_boxes, "split", -0.1, ValueError),
        (nms, "iou_threshold", np.nan, ValueError),
        (nms, "iou_threshold", -0.1, ValueError),
        (redraw_rings, "rings", np.array([0, 1]), ValueError),
        (redraw_rings, "rings", np.array([-1, 0]), ValueError),
        (redraw_rings, "ends", np.array([0, 3]), ValueError),
        (redraw_rings, "ends", np.array([0, 2, 1, 2]), ValueError),
        (overlap_areas, "offsets", np.array([1, 4]), ValueError),
        (overlap_areas, "offsets", np.array([0, 3]), ValueError),
        (overlap_areas, "offsets", np.array([0, 5, 4]), ValueError),
        (overlap_areas, "offsets", np.zeros(0, np.int64), ValueError),
        (resolve_borders, "share", 1.0, ValueError),
        (resolve_borders, "share", np.nan, ValueError),
        (drop_worse, "pairs", np.array([[0, 2]], np.int32), ValueError),
        (drop_worse, "pairs", np.array([[-1, 0]], np.int32), ValueError),
        (drop_worse, "count", -1, ValueError),
        (drop_worse, "count", 2.0, TypeError),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(
    kernel: Callable[..., Any], name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        kernel(**{**GOOD[kernel], name: value})


def answers_of(given: object) -> list[Any]:
    return list(given) if isinstance(given, tuple) else [given]


@pytest.mark.parametrize("kernel, name", ARRAYS)
def test_any_strides_and_read_only_memory_are_read_as_they_are(
    kernel: Callable[..., Any], name: str
) -> None:
    value = GOOD[kernel][name]
    spread = np.full(tuple(3 * side for side in value.shape), 1, value.dtype)
    view = spread[tuple(slice(None, None, 3) for _ in value.shape)]
    view[...] = value
    view.flags.writeable = False
    before = spread.copy()
    expected = answers_of(kernel(**GOOD[kernel]))
    for ours, theirs in zip(
        answers_of(kernel(**{**GOOD[kernel], name: view})), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, strict=True)
    np.testing.assert_array_equal(spread, before)


@pytest.mark.parametrize("kernel", GOOD)
def test_nothing_gives_nothing(kernel: Callable[..., Any]) -> None:
    nothing = {
        name: np.zeros((0, *value.shape[1:]), value.dtype) if isinstance(value, np.ndarray) else 1
        for name, value in GOOD[kernel].items()
    }
    scalars = {k: v for k, v in GOOD[kernel].items() if not isinstance(v, np.ndarray)}
    for name in {"offsets", "ends"} & set(nothing):
        nothing[name] = np.zeros(1, np.int64)
    if "count" in scalars:
        scalars["count"] = 0
    first = answers_of(kernel(**{**nothing, **scalars}))[0]
    assert len(first) == 0
    assert first.dtype == answers_of(kernel(**GOOD[kernel]))[0].dtype
