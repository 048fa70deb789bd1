"""The QuPath file, read the way QuPath reads it."""

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from geojson_pydantic import FeatureCollection
from made.made_nuclei import CLASSES, made_nuclei, made_target

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers.open import open_output


def write(path: Path, nuclei: Nuclei, digest: str = "sha256:1", mpp: float = 0.5) -> bytes:
    target = made_target(path.parent, stem=path.name.split(".")[0], digest=digest, mpp=mpp)
    with open_output("qupath", target) as output:
        output.write(nuclei)
    assert output.paths == [path]
    return path.read_bytes()


def features(data: bytes) -> list[dict]:
    document = json.loads(gzip.decompress(data))
    assert document["type"] == "FeatureCollection"
    return document["features"]


@pytest.mark.parametrize("scale", [1.0, 0.25 / 0.499])
def test_what_is_read_is_what_was_written(tmp_path: Path, scale: float) -> None:
    nuclei = made_nuclei(seed=3, scale=scale)
    read = features(write(tmp_path / "a.geojson.gz", nuclei))
    assert len(read) == len(nuclei) > 40
    for index, feature in enumerate(read):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        points = np.array(ring[:-1])
        stored = nuclei.coords[nuclei.offsets[index] : nuclei.offsets[index + 1]]
        assert np.array_equal(points, stored / 100), "to the last digit"
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        kind = CLASSES[nuclei.label[index]]
        assert properties["classification"] == {"name": kind.name, "color": list(kind.color)}
        numbers = properties["measurements"]
        assert numbers["Score"] == pytest.approx(nuclei.score[index], abs=5.1e-5)
        for one, probability in zip(CLASSES, nuclei.probabilities[index], strict=True):
            assert numbers[f"Probability: {one.name}"] == pytest.approx(probability, abs=5.1e-5)
        assert numbers["Area um2"] == pytest.approx(nuclei.area_px[index] * 0.25, abs=5.1e-3)
        assert len(numbers) == 2 + len(CLASSES)


def test_a_qupath_reader_accepts_everything(tmp_path: Path) -> None:
    data = write(tmp_path / "a.geojson.gz", made_nuclei(seed=4, scale=0.25 / 0.2527))
    text = gzip.decompress(data)
    collection = FeatureCollection.model_validate_json(text)
    assert len(collection.features) > 40
    read = json.loads(text)["features"]
    ids = [feature["id"] for feature in read]
    assert all(uuid.UUID(one).version == 5 for one in ids)
    assert all(uuid.UUID(one).variant == uuid.RFC_4122 for one in ids)
    assert len(set(ids)) == len(ids)
    # QuPath 0.6 reduces to 0.01 px and throws on what is then invalid.
    shapes = np.array([shapely.geometry.shape(feature["geometry"]) for feature in read])
    assert shapely.is_valid(shapes).all()
    assert shapely.is_valid(shapely.set_precision(shapes, 0.01)).all()
    known = {"objectType", "classification", "measurements"}
    assert all(set(feature["properties"]) == known for feature in read)


def test_coordinates_have_no_more_digits_than_they_need(tmp_path: Path) -> None:
    whole = gzip.decompress(write(tmp_path / "a.geojson.gz", made_nuclei()))
    rings = whole.split(b'"coordinates":')[1:]
    assert all(b"." not in ring[: ring.index(b"]]]")] for ring in rings)
    odd = gzip.decompress(write(tmp_path / "b.geojson.gz", made_nuclei(scale=0.5)))
    texts = [
        number
        for ring in odd.split(b'"coordinates":')[1:]
        for number in ring[: ring.index(b"]]]")].replace(b"[", b"").replace(b"]", b"").split(b",")
    ]
    decimals = {len(text.partition(b".")[2]) for text in texts}
    assert decimals == {0, 1}, "halves have one decimal, whole numbers none"


def test_same_nuclei_same_bytes_another_slide_other_ids(tmp_path: Path) -> None:
    nuclei = made_nuclei(seed=5)
    first = write(tmp_path / "a.geojson.gz", nuclei)
    assert first == write(tmp_path / "another.geojson.gz", nuclei)
    other = features(write(tmp_path / "b.geojson.gz", nuclei, digest="sha256:2"))
    ids = {feature["id"] for feature in features(first)}
    assert ids.isdisjoint(feature["id"] for feature in other)


def test_an_id_depends_on_the_nucleus_alone(tmp_path: Path) -> None:
    nuclei = made_nuclei(seed=6)
    everything = features(write(tmp_path / "a.geojson.gz", nuclei))
    some = features(write(tmp_path / "b.geojson.gz", nuclei.take(np.arange(1, len(nuclei), 3))))
    assert [one["id"] for one in some] == [one["id"] for one in everything[1::3]]


def test_more_nuclei_than_one_chunk_holds(tmp_path: Path) -> None:
    few = made_nuclei(seed=7)
    index = np.arange(5000) % len(few)
    read = features(write(tmp_path / "a.geojson.gz", few.take(index)))
    single = features(write(tmp_path / "b.geojson.gz", few))
    assert read == [single[one] for one in index]


def test_an_empty_slide_is_an_empty_collection(tmp_path: Path) -> None:
    nothing = made_nuclei().take(np.zeros(0, np.int64))
    data = write(tmp_path / "a.geojson.gz", nothing)
    assert features(data) == []
    FeatureCollection.model_validate_json(gzip.decompress(data))


def test_one_nucleus(tmp_path: Path) -> None:
    one = made_nuclei().take(np.array([3]))
    assert len(features(write(tmp_path / "a.geojson.gz", one))) == 1


@pytest.mark.parametrize("column", ["score", "probabilities", "area_px"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(tmp_path: Path, column: str, number: float) -> None:
    nuclei = made_nuclei()
    values = getattr(nuclei, column).copy()
    values.flat[7] = number
    with pytest.raises(OutputError, match=f"a: not written.*{column}"):
        write(tmp_path / "a.geojson.gz", Nuclei(**{**vars(nuclei), column: values}))
    assert list(tmp_path.iterdir()) == []


def test_classes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for classes in (CLASSES[:2], [*CLASSES, NucleusClass("More", (0, 0, 0))]):
        with pytest.raises(OutputError, match="classes"):
            target = made_target(tmp_path, classes=classes)
            with open_output("qupath", target) as output:
                output.write(made_nuclei())
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_writing_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.geojson.gz"
    before = write(path, made_nuclei(seed=8))

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nuhtc.runtime.writers.columns.digests", fail)
    with pytest.raises(OutputError, match="disk is full"):
        write(path, made_nuclei(seed=9))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
