"""Predicting whole pictures: bundles, checkpoints, and pictures of another resolution."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.oracle import OracleEngine, paint
from made.blobs import fill_ring, random_ellipses
from made.made_nuclei import made_bundle, made_nuclei
from made.tiny import TINY, TINY_INFO
from torch import Tensor

from nuhtc.runtime.console.options import available_cores
from nuhtc.runtime.ground.errors import BundleError, CheckpointError, EngineError, NuhtcError
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.measures.instance import compare
from nuhtc.training.predictions import bundle_model as predict_bundle
from nuhtc.training.predictions import model as module
from nuhtc.training.predictions.bundle_model import BundleModel
from nuhtc.training.predictions.bundle_model import paint as paint_outlines
from nuhtc.training.predictions.model import Checkpoint, open_model, predict
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.rescale import bring_back

TRUTH = random_ellipses(4, 200, 180, 30, (12.0, 24.0))


@pytest.fixture
def oracle_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that opens as a bundle whose engine is the oracle."""
    monkeypatch.setattr(predict_bundle, "load_bundle", made_bundle)
    monkeypatch.setattr(predict_bundle, "engine_for", lambda *_, **__: OracleEngine())
    return tmp_path


def test_a_bundle_goes_through_the_runtime(oracle_bundle: Path) -> None:
    model = open_model(oracle_bundle)
    assert isinstance(model, BundleModel)
    assert model.classes[1] == "Inflammatory" and model.mpp == 0.25
    found = predict(model, AnnotatedImage("one", paint(TRUTH), TRUTH, None))
    quality = compare(TRUTH, found.instances)
    assert (quality.dq, quality.sq) == (1, 1), "to the pixel"
    assert found.types is not None and found.scores is not None
    for number in range(1, len(found) + 1):
        [own] = np.unique(TRUTH[found.instances == number])
        assert found.types[number] == own % 4
        assert found.scores[number] == pytest.approx(0.6 + own * 37 % 100 / 300)


def test_a_bundle_runs_as_it_is_told(monkeypatch: pytest.MonkeyPatch, oracle_bundle: Path) -> None:
    asked = []

    def opened(_: object, settings: RunSettings, *how: object) -> OracleEngine:
        asked.append((*how, settings.threads, settings.flips))
        return OracleEngine()

    monkeypatch.setattr(predict_bundle, "engine_for", opened)
    open_model(oracle_bundle, engine="openvino", precision="int8", threads=3, flips=2)
    open_model(oracle_bundle)
    assert asked == [("openvino", "int8", 3, 2), ("auto", "auto", available_cores(), 1)]


@pytest.mark.parametrize(
    ("option", "how"),
    [
        ("--flips", {"flips": 2}),
        ("--engine", {"engine": "cpu"}),
        ("--precision", {"precision": "int8"}),
    ],
)
def test_what_only_bundles_have_is_refused_for_a_checkpoint(
    tmp_path: Path, option: str, how: dict[str, Any]
) -> None:
    path = tmp_path / "model.pt"
    path.touch()
    with pytest.raises(CheckpointError, match=f"{option} .*: .* is no bundle"):
        open_model(path, **how)


def test_what_fails_in_the_runtime_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, oracle_bundle: Path
) -> None:
    class Broken(OracleEngine):
        def run(self, tiles: Any) -> Any:
            raise EngineError("the engine is broken")

    monkeypatch.setattr(predict_bundle, "engine_for", lambda *_, **__: Broken())
    with pytest.raises(NuhtcError, match="the engine is broken"):
        open_model(oracle_bundle).find(paint(TRUTH))

    def no_bundle(_: Path) -> None:
        raise BundleError("holds no card.json")

    monkeypatch.setattr(predict_bundle, "load_bundle", no_bundle)
    with pytest.raises(NuhtcError, match=r"no card\.json"):
        open_model(oracle_bundle)


def test_outlines_are_painted_to_the_pixel() -> None:
    nuclei = made_nuclei(3, 128, 20)
    found = paint_outlines(nuclei, 128, 128)
    expected = np.zeros((128, 128), np.int64)
    for i in np.argsort(nuclei.score, kind="stable"):
        ring = nuclei.coords[nuclei.offsets[i] : nuclei.offsets[i + 1]] // UNITS_PER_PX
        expected[fill_ring(ring, 128, 128)] = i + 1
    assert len(nuclei) > 5
    assert np.array_equal(found.instances > 0, expected > 0)
    assert found.types is not None
    assert np.array_equal(found.types[found.instances][expected > 0],
                          nuclei.label[expected[expected > 0] - 1])  # fmt: skip


class Blind(torch.nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))


def test_a_checkpoint_goes_through_pytorch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "open_checkpoint", lambda *_, **__: (Blind(), TINY, TINY_INFO))
    monkeypatch.setattr(module, "torch_engine", lambda *_: OracleEngine())
    path = tmp_path / "model.pt"
    path.touch()
    model = open_model(path, device="cpu", tile=128, threads=torch.get_num_threads())
    assert isinstance(model, Checkpoint) and model.classes == ("Bright", "Dark")
    found = predict(model, AnnotatedImage("one", paint(TRUTH), TRUTH, None))
    assert compare(TRUTH, found.instances).pq == 1
    assert found.scores is not None and (found.scores[1:] > 0.5).all()


def test_no_model_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such bundle or checkpoint"):
        open_model(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError) as error:
        open_model(tmp_path / "model.pt")
    assert "\n" not in str(error.value)
    with pytest.raises(NuhtcError, match=r"card\.json"):
        open_model(tmp_path)


class Bright:
    """Finds one nucleus, wherever a picture is dark, and remembers the picture's size."""

    classes = ("Nucleus",)
    mpp = 0.25
    seen: tuple[int, ...] = ()

    def find(self, rgb: np.ndarray) -> Prediction:
        self.seen = rgb.shape
        return Prediction(
            (rgb[..., 0] < 128).astype(np.int32), np.zeros(2, np.int64), np.ones(2, np.float32)
        )


@pytest.mark.parametrize(
    ("mpp", "size"), [(0.25, (50, 70)), (0.2527, (50, 70)), (0.5, (100, 140)), (0.125, (25, 35))]
)
def test_pictures_are_brought_to_the_models_resolution_and_back(
    mpp: float, size: tuple[int, int]
) -> None:
    rgb = np.full((50, 70, 3), 255, np.uint8)
    rgb[10:30, 20:44] = 0
    model = Bright()
    found = predict(model, AnnotatedImage("one", rgb, np.zeros((50, 70), np.int32), None, mpp))
    assert model.seen[:2] == size
    assert np.array_equal(found.instances, rgb[..., 0] < 128)


def test_nuclei_that_no_pixel_is_left_of_are_dropped() -> None:
    instances = np.zeros((8, 8), np.int32)
    instances[0, 0], instances[2:6, 2:6] = 1, 2
    found = Prediction(instances, np.array([-1, 3, 1]), np.array([0, 0.2, 0.7], np.float32))
    small = bring_back(found, 4, 4)
    assert np.bincount(small.instances.ravel()).tolist() == [12, 4]
    assert small.types is not None and small.types[1:].tolist() == [1]
    assert small.scores is not None and small.scores[1:] == pytest.approx([0.7])
    assert bring_back(found, 16, 16).instances.sum() == 4 + 2 * 64
