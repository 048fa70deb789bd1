"""What a bundle finds against PyTorch: measured through the runtime, with known truth."""

from pathlib import Path

import numpy as np
import pytest
from fakes.oracle import OracleEngine
from made.made_nuclei import made_bundle
from made.painted_set import PaintedSet

from nuhtc.export.proof.quality import measure
from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage


def test_all_nuclei_of_held_out_pictures_give_a_pq_of_one(tmp_path: Path) -> None:
    dataset = PaintedSet(["a_1", "a_3", "a_8", "a_9"])
    quality = measure(made_bundle(tmp_path), OracleEngine(), dataset)
    assert (quality.pictures, quality.pq, quality.mpq) == (2, 1.0, None)
    assert dataset.read == ["a_3", "a_8"], "training pictures are not even read"


def test_missed_nuclei_lower_it(tmp_path: Path) -> None:
    dataset = PaintedSet(["a_3"])
    count = len(dataset[0])
    quality = measure(made_bundle(tmp_path), OracleEngine(skip=(1,)), dataset)
    assert quality.pq == pytest.approx(2 * (count - 1) / (2 * count - 1))


def test_classes_that_both_know_give_an_mpq(tmp_path: Path) -> None:
    bundle = made_bundle(tmp_path)

    class TypedSet(PaintedSet):
        classes = tuple(NucleusClass(one.name, one.color) for one in bundle.card.classes)

        def __getitem__(self, index: int) -> AnnotatedImage:
            image = super().__getitem__(index)
            types = np.arange(len(image) + 1, dtype=np.int64) % 4
            return AnnotatedImage(image.name, image.rgb, image.instances, types)

    quality = measure(bundle, OracleEngine(), TypedSet(["a_3"]))
    assert (quality.pq, quality.mpq) == (1.0, 1.0)


def test_a_set_without_held_out_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="held out"):
        measure(made_bundle(tmp_path), OracleEngine(), PaintedSet(["a_1", "a_2"]))
