"""Two processes train one network, also after they were killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny import disc_image
from PIL import Image
from places import PROGRAMS

from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.loop.processes import Processes, own_device

REFERENCE = PROGRAMS


def together(script: str, *arguments: str, stop_before: int | None = None) -> int:
    """Start two processes of a script; return the exit code."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if stop_before is not None:
        environment["STOP_BEFORE_STEP"] = str(stop_before)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(REFERENCE / script), *arguments],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    if stop_before is None:
        assert done.returncode == 0, done.stderr[-2000:]
    return done.returncode


def test_alone_nothing_changes() -> None:
    one = Processes()
    assert one.first
    assert one.share(range(4)) == [0, 1, 2, 3] and one.gather([1, 2]) == [1, 2]
    tensor = torch.ones(2)
    one.average([tensor])
    one.wait()
    assert tensor.tolist() == [1, 1]
    assert own_device("cpu") == torch.device("cpu")


def test_what_two_tell_each_other(tmp_path: Path) -> None:
    together("exchange.py", str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in (0, 1))
    assert first["own"] == ["item 0", "item 2", "item 4"] and second["own"] == ["item 1", "item 3"]
    for answer in (first, second):
        assert answer["all"] == [f"item {i}" for i in range(5)]
        assert answer["gradient"] == [2.0, 2.0] and answer["mean"] == [5.0, 5.0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "discs"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for seed in range(4):
        picture = disc_image(seed, 100)
        assert picture.types is not None
        Image.fromarray(picture.rgb).save(root / "images" / f"{seed}.png")
        types = np.where(picture.instances > 0, picture.types[picture.instances] + 1, 0)
        np.savez(root / "labels" / f"{seed}.npz", inst_map=picture.instances, type_map=types)
    return root


def test_a_killed_training_of_two_ends_in_the_same_weights(data: Path, tmp_path: Path) -> None:
    def train(out: str, stop_before: int | None = None) -> int:
        return together(
            "train_tiny.py", "--preset", "tiny", "--no-imagenet", "--device", "cpu",
            "--workers", "0", "--steps", "4", "--batch", "4", "--save-every", "1",
            "--data", str(data), "--out", str(tmp_path / out), stop_before=stop_before,
        )  # fmt: skip

    train("whole")
    assert train("stopped", stop_before=3) != 0
    train("stopped")
    whole, stopped = (
        checkpoint.read(tmp_path / name / "last.pt")[1] for name in ("whole", "stopped")
    )
    assert whole["step"] == stopped["step"] == 4
    for part in ("state_dict", "average"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, stopped[part][name]), name
    log = (tmp_path / "whole" / "log.csv").read_text("utf-8").splitlines()
    assert len(log) == 5, "one process writes"
