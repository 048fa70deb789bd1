"""PQ by class and tissue: by hand, and as the PanNuke protocol averages it."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from made.evaluated import evaluated_golden
from numpy.typing import NDArray
from places import SHARED

from nuhtc.training.cli.evaluate import main
from nuhtc.training.evaluation.summary import class_rows, summarise_all, tissue_rows
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.measures.pannuke_protocol import (
    class_qualities,
    group,
    mean,
    mean_over_tissues,
    picture_mpq,
)

PROTOCOL = SHARED / "parity" / "metrics"
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


def channels(instances: NDArray[np.int32], types: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return PanNuke's channels: types 1 to 4, an empty fifth, and the background."""
    layers = [np.where(types == kind, instances, 0) for kind in range(1, 6)]
    return np.stack([*layers, (instances == 0).astype(np.int32)], axis=-1)


@pytest.mark.skipif(not PROTOCOL.is_dir(), reason="protocol values absent: ../shared/parity")
def test_the_published_protocol_from_pannukes_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = tmp_path / "fold1"
    fold.mkdir()
    with np.load(PROTOCOL / "input.npz") as archive:
        np.save(fold / "masks.npy", channels(archive["true_inst"], archive["true_type"]))
        np.save(tmp_path / "found.npy", channels(archive["pred_inst"], archive["pred_type"]))
        np.save(fold / "images.npy", np.zeros((*archive["true_inst"].shape, 3), np.uint8))
        np.save(fold / "types.npy", archive["tissue"])
    command = ["--predictions", str(tmp_path / "found.npy"), "--data", str(fold), "--json"]
    assert main([*command, "--split", "all"]) == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    expected = json.loads((PROTOCOL / "consep_protocol.json").read_text())
    for name in ("mpq", "bpq"):
        assert result["pannuke"][name] == pytest.approx(expected["pannuke"][name], abs=5e-6)
    columns = expected["instance"]["columns"]
    ours = np.array([[row[name] for name in columns] for row in result["images"]])
    assert np.abs(ours - expected["instance"]["per_image"]).max() <= 5.1e-5
    found = [result["detection"]["f1"], result["detection"]["type_accuracy"]]
    found += [row["f1"] for row in result["classes"][:4]]
    assert found == pytest.approx(expected["type"]["values"], abs=5.1e-6)
