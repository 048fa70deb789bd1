"""PQ by class and tissue: by hand, and as the PanNuke protocol averages it."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from reference.evaluated import evaluated_golden

from nuhtc.training.evaluation.overlaps import overlaps
from nuhtc.training.evaluation.pannuke import (
    class_qualities,
    group,
    mean,
    mean_over_tissues,
    picture_mpq,
)
from nuhtc.training.evaluation.summary import class_rows, summarise_all, tissue_rows

PROTOCOL = Path(__file__).parents[4] / "shared" / "parity" / "metrics"
NAN = float("nan")


def test_a_class_without_truth_is_skipped() -> None:
    truth, found = np.zeros((9, 9), np.int32), np.zeros((9, 9), np.int32)
    truth[:3, :3], truth[6:, 6:] = 1, 2
    found[:3, :2], found[6:, 6:], found[0, 8] = 1, 2, 3
    pairs = overlaps(truth, found)
    # The first is of class 0 in both, the second of 1, but found as 2; the third of 2 is invented.
    zero, one, two = class_qualities(pairs, np.array([-1, 0, 1]), np.array([-1, 0, 2, 2]), 3)
    assert zero is not None and zero.pq == 6 / 9
    assert one is not None and one.pq == 0
    assert two is None
    assert picture_mpq((zero, one, two)) == 6 / 9 / 2
    assert math.isnan(picture_mpq((None, None)))


def test_tissues_count_alike_however_many_pictures_they_have() -> None:
    values = [0.2, 0.4, NAN, 0.9, NAN]
    tissues = ["Colon", "Colon", "Colon", "Lung", "Skin"]
    assert mean_over_tissues(values, tissues) == pytest.approx((0.3 + 0.9) / 2)
    assert mean_over_tissues(values, [None] * 5) == pytest.approx(0.5)
    assert group([1, 2, 3], ["b", None, "a"]) == {"a": [3], "b": [1], "unknown": [2]}
    assert math.isnan(mean([]))


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="protocol values absent: ../shared/parity")
def test_the_published_protocol() -> None:
    result = evaluated_golden(PROTOCOL / "input.npz")
    expected = json.loads((PROTOCOL / "consep_protocol.json").read_text())["pannuke"]
    ours = summarise_all(result)["pannuke"]
    assert ours["mpq"] == pytest.approx(expected["mpq"], abs=5e-6)
    assert ours["bpq"] == pytest.approx(expected["bpq"], abs=5e-6)

    with (PROTOCOL / "class_stats.csv").open() as file:
        by_class = [float(row["PQ"] or "nan") for row in csv.DictReader(file)]
    assert [row["pq"] for row in class_rows(result)] == pytest.approx(
        by_class, abs=5e-6, nan_ok=True
    )
    with (PROTOCOL / "tissue_stats.csv").open() as file:
        by_tissue = {
            row["Tissue name"]: (float(row["PQ"]), float(row["PQ bin"]))
            for row in csv.DictReader(file)
            if row["PQ"] and row["Tissue name"] != "mean"
        }
    rows = tissue_rows(result)
    assert [row["tissue"] for row in rows] == sorted(by_tissue) == ["Breast", "Colon", "Lung"]
    for row in rows:
        assert (row["mpq"], row["bpq"]) == pytest.approx(by_tissue[row["tissue"]], abs=5e-6)
