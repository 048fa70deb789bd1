"""`nuhtc-run` with a real engine: an untrained network that finds plenty everywhere."""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from fakes.oracle import paint
from geojson_pydantic import FeatureCollection
from made.blobs import random_ellipses
from PIL import Image

from nuhtc.runtime.cli.run import main

if TYPE_CHECKING:
    from nuhtc.runtime.bundle.load import Bundle

WIDTH, HEIGHT = 331, 300


@pytest.mark.parametrize("mpp", [0.25, 0.499])
def test_a_picture_becomes_valid_outlines_the_same_in_every_run(
    lite0_bundle: "Bundle", tmp_path: Path, capsys: pytest.CaptureFixture[str], mpp: float
) -> None:
    labels = random_ellipses(31, HEIGHT, WIDTH, 60, (10.0, 30.0))
    Image.fromarray(paint(labels)).save(tmp_path / "a.png")
    for out in ("one", "two"):
        options = ("--bundle", lite0_bundle.folder, "--mpp", mpp, "--threads", 2, "--json")
        argv = [str(one) for one in (tmp_path / "a.png", "--out", tmp_path / out, *options)]
        assert main(argv) == 0
    for name in ("a.geojson.gz", "a.overlay.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["engine"] == "cpu"
    assert {**first, **{key: None for key in first if key.startswith("seconds")}} == {
        **second,
        **{key: None for key in second if key.startswith("seconds")},
    }
    text = gzip.decompress((tmp_path / "one" / "a.geojson.gz").read_bytes())
    FeatureCollection.model_validate_json(text)
    features = json.loads(text)["features"]
    assert len(features) == first["nuclei"] > 0
    shapes = np.array([shapely.geometry.shape(one["geometry"]) for one in features])
    assert shapely.is_valid(shapely.set_precision(shapes, 0.01)).all()
    assert shapely.is_valid(shapes).all()
    assert shapely.box(0, 0, WIDTH, HEIGHT).covers(shapes).all()
