"""Fixtures of the command lines' tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.oracle import OracleEngine, paint
from made.made_nuclei import made_bundle
from numpy.typing import NDArray
from PIL import Image
from programs.typed_run import LABELS

import nuhtc.runtime.bundle.load
import nuhtc.runtime.pipeline.segment


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OracleEngine:
    """Put the oracle where the network's engine is opened."""
    engine = OracleEngine()
    monkeypatch.setattr(
        nuhtc.runtime.bundle.load, "load_bundle", lambda folder: made_bundle(folder)
    )
    monkeypatch.setattr(nuhtc.runtime.pipeline.segment, "open_engine", lambda *args: engine)
    return engine


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a picture of known nuclei."""

    def save(name: str = "in/a.png", labels: NDArray[np.int32] = LABELS) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(labels)).save(path)
        return path

    return save
