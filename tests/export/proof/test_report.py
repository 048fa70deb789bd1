"""The parity report: what fails, what is said, and that programs can read it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuhtc.export.proof.limits import EXACT, HALF
from nuhtc.export.proof.parity import Difference
from nuhtc.export.proof.quality import Agreement, Quality, agree
from nuhtc.export.proof.report import PrecisionReport, Report
from nuhtc.runtime.engines.engine import Detections

AGREEMENT = Agreement(10, 10, 10, 9, 0.01, 0.999, 0.99)
ONE = PrecisionReport(
    EXACT,
    (Difference("trunk.fine4", 1e-4, 1e-5, 5e-3),),
    AGREEMENT,
    {"consep": Quality(5, 0.4995, 0.3)},
    1_000_000,
)
REPORT = Report(2, "made-up tiles", {"consep": Quality(5, 0.5, None)}, {"fp32": ONE})


def test_what_passes() -> None:
    assert REPORT.failures() == []
    assert "All within the limits." in REPORT.as_text()
    content = json.loads(REPORT.as_json())
    assert content["passes"] is True and content["tiles"]["count"] == 2
    one = content["precisions"]["fp32"]
    assert one["outputs"]["trunk.fine4"] == {"largest": 1e-4, "mean": 1e-5, "limit": 5e-3}
    assert one["detections"]["f1"] == 1.0 and one["quality"]["consep"]["pq"] == 0.4995
    assert content["pytorch"]["quality"]["consep"]["mpq"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(ONE, differences=(Difference("heads.boxes", 1.0, 0.1, 0.5),)), "heads.boxes"),
        (replace(ONE, differences=(Difference("x.y", math.nan, 0.1, 0.5),)), "x.y"),
        (replace(ONE, agreement=replace(AGREEMENT, matched=9)), "agreement"),
        (replace(ONE, agreement=replace(AGREEMENT, mask_iou=0.9)), "mask IoU"),
        (replace(ONE, agreement=replace(AGREEMENT, mask_iou=math.nan)), "mask IoU"),
        (replace(ONE, quality={"consep": Quality(5, 0.498, None)}), "PQ on consep"),
        (replace(ONE, quality={"consep": Quality(5, math.nan, None)}), "PQ on consep"),
        (replace(ONE, limits=replace(EXACT, pq_loss=math.nan)), "PQ on consep"),
    ],
)
def test_what_fails_is_named(changed: PrecisionReport, said: str) -> None:
    report = replace(REPORT, precisions={"fp32": ONE, "fp16": replace(changed)})
    [failure] = report.failures()
    assert failure.startswith("fp16: ") and said in failure
    assert failure in report.as_text()
    content = json.loads(report.as_json())
    assert content["passes"] is False


def test_the_tables_line_up() -> None:
    text = replace(REPORT, precisions={"fp32": ONE, "fp16": replace(ONE, limits=HALF)}).as_text()
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) <= 1
        assert len({line.count("|") for line in lines}) <= 1


def found(boxes: list[tuple[float, ...]], label: int = 0, inside: float = 1.0) -> Detections:
    count = len(boxes)
    probabilities = np.full((count, 2), 0.1, np.float32)
    probabilities[:, label] = 0.8
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        probabilities,
        np.full((count, 28, 28), inside, np.float32),
    )


corner = st.integers(0, 5)


@given(places=st.sets(st.tuples(corner, corner), max_size=12), shift=st.integers(0, 1))
def test_the_same_nuclei_are_matched_in_any_order(places: set[tuple[int, int]], shift: int) -> None:
    boxes = [(20.0 * x, 20.0 * y, 20.0 * x + 12, 20.0 * y + 12) for x, y in sorted(places)]
    moved = [(x0 + shift, y0, x1 + shift, y1) for x0, y0, x1, y1 in reversed(boxes)]
    result = agree([found(boxes)], [found(moved)], 128, 0.5)
    assert (result.expected, result.found, result.matched) == (len(boxes),) * 3
    assert result.f1 == 1.0 and result.same_class == len(boxes)
    assert result.box_difference == (shift if boxes else 0)
    # The pixel of the mask nearest to its box's border fades out, so overlaps are not to the dot.
    assert 11 / 13 - 0.1 <= result.least_mask_iou <= 1.0


def test_what_only_one_finds_counts_against_both() -> None:
    near, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    result = agree([found([near])], [found([near, far])], 64, 0.5)
    assert (result.expected, result.found, result.matched) == (1, 2, 1)
    assert result.f1 == pytest.approx(2 / 3)
    nothing = agree([found([near])], [found([far])], 64, 0.5)
    assert nothing.matched == 0 and nothing.f1 == 0.0


def test_each_nucleus_is_matched_once() -> None:
    near, beside = (0.0, 0.0, 10.0, 10.0), (1.0, 0.0, 11.0, 10.0)
    result = agree([found([near])], [found([beside, near])], 64, 0.5)
    assert result.matched == 1 and result.box_difference == 0.0, "the most alike are a pair"


def test_another_class_is_told() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    result = agree([found([box])], [found([box], label=1)], 64, 0.5)
    assert (result.matched, result.same_class) == (1, 0)
