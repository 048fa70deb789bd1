"""Time non-maximum suppression of proposals inside the graph beside the native kernel after it.

    python benchmarks/proposal_nms.py [--boxes 1000,2000,3000] [--tiny] [--json] [--repeat N]

Both start from the scores and boxes of every anchor of one tile. Inside: a graph of TopK,
NonMaxSuppression and Gather gives the boxes that stay. Native: a graph of TopK and Gather gives
the best boxes, and ``nuhtc.native.proposals.nms`` chooses among them. Boxes crowd around made
nuclei, from a fixed seed, as those of a trained network do; both must keep the same ones. Times
are medians over the repetitions, on two threads, in every CPU engine that is installed.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nuhtc.native.proposals import nms

IOU = 0.7
KEPT = 1000
ANCHORS, NUCLEI, SIDE = 16_000, 200, 512

Call = Callable[[NDArray[np.float32], NDArray[np.float32]], list[NDArray[Any]]]


def made_boxes(anchors: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes (1, A, 4) around nuclei, and scores (1, A), the higher the nearer."""
    rng = np.random.default_rng(0)
    nucleus = rng.integers(0, NUCLEI, anchors)
    centre = rng.uniform(16, SIDE - 16, (NUCLEI, 2))[nucleus]
    side = rng.uniform(20, 60, (NUCLEI, 2))[nucleus]
    off = rng.normal(0, 0.25, (anchors, 2))
    centre = centre + off * side
    side = side * rng.uniform(0.7, 1.4, (anchors, 2))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1).clip(0, SIDE)
    # No two scores are equal, so that there is one right answer.
    rank = np.hypot(*off.T) + rng.uniform(0, 1e-3, anchors)
    scores = np.empty(anchors, np.float32)
    scores[np.argsort(-rank)] = np.linspace(0.001, 0.999, anchors)
    return boxes[None].astype(np.float32), scores[None]


def graph(anchors: int, count: int, *, inside: bool) -> onnx.ModelProto:
    """Return a graph that gives the ``count`` best boxes and scores, or those that stay."""
    node = helper.make_node
    nodes = [
        node("TopK", ["scores", "count"], ["best", "index"], axis=1),
        node("Squeeze", ["index", "first"], ["rows"]),
        node("Gather", ["boxes", "rows"], ["chosen"], axis=1),
    ]
    if inside:
        nodes += [
            node("Unsqueeze", ["best", "one"], ["by_class"]),
            node("NonMaxSuppression", ["chosen", "by_class", "kept", "iou"], ["triples"]),
            node("Gather", ["triples", "two"], ["stay"], axis=1),
            node("Gather", ["chosen", "stay"], ["answer"], axis=1),
        ]
        outputs = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, "stay", 4])]
    else:
        outputs = [
            helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1, count, 4]),
            helper.make_tensor_value_info("best", TensorProto.FLOAT, [1, count]),
        ]
    whole: dict[str, int | list[int]] = {"count": [count], "first": [0]}
    constants = [numpy_helper.from_array(np.array([IOU], np.float32), "iou")] if inside else []
    if inside:
        whole.update(kept=[KEPT], one=[1], two=2)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "proposals",
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, anchors, 4]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, anchors]),
            ],
            outputs,
            [
                *constants,
                *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in whole.items()),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def in_onnxruntime(model: onnx.ModelProto) -> Call:
    """Return a call of the graph in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda boxes, scores: list(session.run(None, {"boxes": boxes, "scores": scores}))


def in_openvino(model: onnx.ModelProto) -> Call:
    """Return a call of the graph in OpenVINO."""
    import openvino

    hints = {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(
        openvino.Core().read_model(model.SerializeToString()), "CPU", hints
    )
    return lambda boxes, scores: list(compiled({"boxes": boxes, "scores": scores}).values())


def engines() -> dict[str, Callable[[onnx.ModelProto], Call]]:
    """Return the CPU engines that are installed."""
    found: dict[str, Callable[[onnx.ModelProto], Call]] = {"onnxruntime": in_onnxruntime}
    if importlib.util.find_spec("openvino") is not None:
        found["openvino"] = in_openvino
    return found


def after(call: Call) -> Call:
    """Return a call of the graph without suppression, and the kernel after it."""

    def both(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[NDArray[Any]]:
        chosen, best = call(boxes, scores)
        return [chosen[:, nms(chosen[0], best[0], IOU, None, KEPT)]]

    return both


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    """Return the median time of a call, after one that does not count."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(argv: list[str] | None = None) -> None:
    """Check both ways against each other, time them, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", default="1000,2000,3000", help="best boxes that are looked at")
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="few boxes, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(argv)
    anchors = 500 if options.tiny else ANCHORS
    counts = [100] if options.tiny else [int(text) for text in options.boxes.split(",")]
    boxes, scores = made_boxes(anchors)
    rows = []
    for count in counts:
        models = {inside: graph(anchors, count, inside=inside) for inside in (True, False)}
        for engine, opened in engines().items():
            graph_way = opened(models[True])
            without = opened(models[False])
            native_way = after(without)
            wanted, found = graph_way(boxes, scores)[0], native_way(boxes, scores)[0]
            np.testing.assert_array_equal(wanted, found)
            rows.append(
                {
                    "engine": engine,
                    "boxes": count,
                    "kept": found.shape[1],
                    **{
                        f"{name}_ms": 1e3
                        * median_seconds(lambda way=way: way(boxes, scores), options.repeat)
                        for name, way in (
                            ("in_graph", graph_way),
                            ("native", native_way),
                            ("without", without),
                        )
                    },
                }
            )
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("ms from the scores of all anchors to the boxes that stay")
    for row in rows:
        print(
            f"{row['engine']:12} {row['boxes']:5} boxes, {row['kept']:4} stay:  "
            f"in the graph {row['in_graph_ms']:7.2f}   native {row['native_ms']:7.2f}   "
            f"(TopK alone {row['without_ms']:.2f})"
        )


if __name__ == "__main__":
    main()
