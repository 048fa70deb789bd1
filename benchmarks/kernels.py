"""Time the native kernels beside the library calls that they replace.

    python benchmarks/kernels.py [--tiny] [--json] [--repeat N]

Inputs are made by code from a fixed seed. Everything runs on one thread; times are processor
seconds, so that other work on the machine counts little, and medians over the repetitions.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import contourpy
import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from nuhtc.native.outlines import trace_masks
from nuhtc.native.proposals import nms, watershed_boxes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference import proposals as twin


@dataclass(frozen=True)
class Timing:
    """One kernel's and its rival's time for the same work."""

    kernel: str
    items: int
    item: str
    seconds: float
    rival: str
    rival_seconds: float

    @property
    def ratio(self) -> float:
        """How many times faster the kernel is."""
        return self.rival_seconds / self.seconds


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    """Return the median of a call's processor seconds, after one that does not count."""
    work()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def wavy_masks(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return float32 (count, 28, 28): round shapes with wavy borders, as a mask head gives."""
    y, x = np.mgrid[:28, :28] - 13.5
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    phase = rng.uniform(0, 2 * np.pi, (2, count, 1, 1))
    border = 12 * (1 + 0.08 * np.sin(3 * angle + phase[0]) + 0.05 * np.sin(5 * angle + phase[1]))
    masks: NDArray[np.float32] = (1 / (1 + np.exp(radius - border))).astype(np.float32)
    return masks


def centred_boxes(
    rng: np.random.Generator, count: int, low: float, high: float, sides: tuple[float, float]
) -> NDArray[np.float32]:
    """Return float32 (count, 4) boxes with centres from `low` to `high`."""
    centre, side = rng.uniform(low, high, (count, 2)), rng.uniform(*sides, (count, 2))
    return np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)


def paste_and_contour(masks: NDArray[np.float32], boxes: NDArray[np.float32]) -> int:
    """Resize each mask into its box, keep the largest part, fill it, contour it."""
    points = 0
    for mask, box in zip(masks, boxes, strict=True):
        width, height = np.maximum(np.rint(box[2:] - box[:2]).astype(int), 1).tolist()
        pasted = np.asarray(
            Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
        )
        labels, count = ndimage.label(pasted >= 0.5)
        if count:
            largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
            filled = np.pad(ndimage.binary_fill_holes(largest), 1).astype(np.float32)
            points += sum(len(line) for line in contourpy.contour_generator(z=filled).lines(0.5))
    return points


def largest_contour(picture: NDArray[np.uint8]) -> int:
    """Return the number of points of the largest outer contour that OpenCV finds."""
    contours, _ = cv2.findContours(picture, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return len(max(contours, key=cv2.contourArea)) if contours else 0


def find_contours(masks: NDArray[np.float32], boxes: NDArray[np.float32], tile: int) -> int:
    """Resize each mask into its box by OpenCV and contour it there or, pasted, in the tile."""
    points = 0
    for mask, box in zip(masks, boxes, strict=True):
        x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
        inside = (cv2.resize(mask, (x1 - x0, y1 - y0)) >= 0.5).view(np.uint8)
        if tile:
            picture = np.zeros((tile, tile), np.uint8)
            picture[y0:y1, x0:x1] = inside
            inside = picture
        points += largest_contour(inside)
    return points


def time_outlines(rng: np.random.Generator, count: int, repeat: int) -> list[Timing]:
    """Time outlines of nuclei of 30 pixels beside three ways of getting them by libraries."""
    masks, boxes = wavy_masks(rng, count), centred_boxes(rng, count, 30, 482, (29, 31))
    some = max(count // 10, 1)
    rivals = {
        "OpenCV resize, paste into the tile, findContours": lambda: find_contours(
            masks[:some], boxes[:some], 512
        ),
        "OpenCV resize, findContours in the box": lambda: find_contours(
            masks[:some], boxes[:some], 0
        ),
        "Pillow resize + SciPy label and fill + contourpy": lambda: paste_and_contour(
            masks[:some], boxes[:some]
        ),
    }
    seconds = median_seconds(lambda: trace_masks(masks, boxes, 512, 512), repeat)
    return [
        Timing(
            *("trace_masks", count, "nucleus", seconds, rival),
            median_seconds(work, repeat) * (count / some),
        )
        for rival, work in rivals.items()
    ]


def time_proposals(rng: np.random.Generator, size: int, repeat: int) -> Timing:
    """Time the watershed step on a smooth map at a quarter of the tile's size."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size // 4, size // 4)), 2.5)
    logits = (6 * noise / noise.std()).astype(np.float32)
    return Timing(
        "watershed_boxes",
        1,
        f"{size} px tile",
        median_seconds(lambda: watershed_boxes(logits, size, size), repeat),
        "SciPy",
        median_seconds(lambda: twin.watershed_boxes(logits, size, size), repeat),
    )


def suppression_in_a_graph(threshold: float, most: int) -> onnxruntime.InferenceSession:
    """Return a graph of one node, on one thread: ONNX's own non-maximum suppression."""
    floats, ints = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    limits = [
        onnx.helper.make_tensor("most", ints, [1], [most]),
        onnx.helper.make_tensor("threshold", floats, [1], [threshold]),
    ]
    node = onnx.helper.make_node(
        "NonMaxSuppression", ["boxes", "scores", "most", "threshold"], ["kept"]
    )
    graph = onnx.helper.make_graph(
        [node],
        "nms",
        [
            onnx.helper.make_tensor_value_info("boxes", floats, [1, None, 4]),
            onnx.helper.make_tensor_value_info("scores", floats, [1, 1, None]),
        ],
        [onnx.helper.make_tensor_value_info("kept", ints, [None, 3])],
        limits,
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def time_nms(rng: np.random.Generator, count: int, repeat: int) -> list[Timing]:
    """Time the suppression of crowded boxes, of which at most a thousand stay."""
    boxes = centred_boxes(rng, count, 0, 512, (16, 48))
    scores = rng.random(count, np.float32)
    session = suppression_in_a_graph(0.7, 1000)
    fed = {"boxes": boxes[None], "scores": scores[None, None]}
    rivals = {
        "NumPy": lambda: twin.nms(boxes, scores, 0.7, None, 1000),
        "the graph's NonMaxSuppression in ONNX Runtime": lambda: session.run(None, fed),
    }
    seconds = median_seconds(lambda: nms(boxes, scores, 0.7, None, 1000), repeat)
    return [
        Timing("nms", count, "box", seconds, rival, median_seconds(work, repeat))
        for rival, work in rivals.items()
    ]


def main(argv: list[str] | None = None) -> None:
    """Time every kernel and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small inputs, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeat", type=int, default=7, help="repetitions, the median counts")
    options = parser.parse_args(argv)
    rng, repeat = np.random.default_rng(0), options.repeat
    timings = [
        *time_outlines(rng, 20 if options.tiny else 2000, repeat),
        time_proposals(rng, 64 if options.tiny else 512, repeat),
        *time_nms(rng, 50 if options.tiny else 2000, repeat),
    ]
    if options.json:
        print(json.dumps([{**asdict(each), "ratio": each.ratio} for each in timings], indent=1))
        return
    for each in timings:
        print(
            f"{each.kernel:16} {1e6 * each.seconds / each.items:10.2f} us per {each.item:12}"
            f" {each.ratio:7.1f} x {each.rival}"
        )


if __name__ == "__main__":
    main()
