"""Checkpoints: whole or not at all, read back the same, and never run."""

import errno
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.tiny import TINY, TINY_INFO

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.runtime.ground.errors import CheckpointError, OutputError
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import LITE0, PRESETS

INFO = replace(
    TINY_INFO,
    data=(DataSource("Made up", "CC0 1.0", "nobody, 2020"), DataSource("Ünï", "unknown", "")),
    metrics=(("mine", (("images", 3), ("pq", 0.25))), ("yours", ())),
    steps=12,
)


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture
def network() -> NuHTC:
    torch.manual_seed(0)
    return TINY.build(2).eval()


def refusal(path: Path) -> str:
    """The message of the refusal: one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_network(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_what_was_saved_comes_back(tmp_path: Path, network: NuHTC) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, INFO, network.state_dict(), counters=[1, 2], best=0.5)
    info, content = checkpoint.read(path)
    assert info == INFO
    assert content["counters"] == [1, 2] and content["best"] == 0.5
    weights = network.state_dict()
    assert content["state_dict"].keys() == weights.keys()
    assert all(torch.equal(content["state_dict"][name], weights[name]) for name in weights)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"], "nothing is left beside it"


def test_a_loaded_network_answers_as_the_saved_one(tmp_path: Path, network: NuHTC) -> None:
    checkpoint.save(tmp_path / "model.pt", INFO, network.state_dict())
    torch.manual_seed(99)
    loaded, preset, info = checkpoint.load_network(tmp_path / "model.pt")
    assert preset is TINY and info == INFO
    assert not loaded.training
    tiles = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        found, expected = (n.trunk(n.prepare(tiles)).foreground for n in (loaded, network))
    assert torch.equal(found, expected)


class Trap:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_file_does_not_run(tmp_path: Path, network: NuHTC, old_format: bool) -> None:
    path, proof = tmp_path / "model.pt", tmp_path / "proof"
    checkpoint.save(path, INFO, network.state_dict())
    content = content_of(path) | {"extra": Trap(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    refusal(path)
    assert not proof.exists()
    path.write_bytes(pickle.dumps(Trap(proof)))
    refusal(path)
    assert not proof.exists()


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, network: NuHTC, keep: float) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, INFO, network.state_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refusal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"\x80\x02" + b))
def test_any_other_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.pt"
    path.write_bytes(content)
    refusal(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "model.pt")
    refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, {"format": "other"}, [1, 2], torch.zeros(3), "nuhtc-checkpoint"]
)
def test_a_file_of_another_program(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    assert "nuhtc-train" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"version": None},
        {"info": None},
        {"info": {"preset": "tiny"}},
        {"info": {"preset": "tiny", "classes": [{"name": "x"}], "data": [], "metrics": []}},
        {"state_dict": None},
    ],
)
def test_an_incomplete_description(tmp_path: Path, network: NuHTC, change: dict[str, Any]) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, INFO, network.state_dict())
    torch.save(content_of(path) | change, path)
    assert "damaged" in refusal(path)
    content = content_of(path)
    del content[next(iter(change))]
    torch.save(content, path)
    refusal(path)


def test_a_newer_version(tmp_path: Path, network: NuHTC) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, INFO, network.state_dict())
    newer = content_of(path) | {"version": checkpoint.VERSION + 1, "info": {"unheard": "of"}}
    torch.save(newer, path)
    assert "newer" in refusal(path)


def test_a_preset_nobody_knows(tmp_path: Path, network: NuHTC) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, replace(INFO, preset="giant"), network.state_dict())
    assert "giant" in refusal(path)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path, network: NuHTC) -> None:
    weights = network.state_dict()
    del weights["rpn.conv.bias"]
    weights["more"] = torch.zeros(1)
    weights["backbone.stem.bias"] = torch.zeros(5)
    weights["rpn.objectness.bias"] = torch.full_like(weights["rpn.objectness.bias"], torch.nan)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(network, weights, tmp_path / "w.pt")
    message = str(caught.value)
    assert "1 missing: rpn.conv.bias" in message
    assert "1 unknown: more" in message
    assert "wrong shape: backbone.stem.bias (5,) instead of (8,)" in message
    assert "not finite: rpn.objectness.bias" in message
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_weights_of_another_preset(tmp_path: Path, network: NuHTC) -> None:
    checkpoint.save(tmp_path / "model.pt", replace(INFO, preset="lite0"), network.state_dict())
    message = refusal(tmp_path / "model.pt")
    assert "missing" in message and " more" in message, "the first few, not hundreds"
    assert len(message) < 3000, "twenty names of each kind"
    assert PRESETS["lite0"] is LITE0


def test_weights_for_another_number_of_classes(tmp_path: Path, network: NuHTC) -> None:
    info = replace(INFO, classes=(*INFO.classes, NucleusClass("Third", (1, 2, 3))))
    checkpoint.save(tmp_path / "model.pt", info, network.state_dict())
    assert "stages.0.classifier" in refusal(tmp_path / "model.pt")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "model.pt"
    with pytest.raises(OutputError, match="cannot be written"):
        checkpoint.save(path, INFO, {})


def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, network: NuHTC, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path, INFO, network.state_dict())
    before = path.read_bytes()

    def full(_: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="disk is full"):
        checkpoint.save(path, INFO, network.state_dict())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_the_plainest_description(tmp_path: Path, network: NuHTC) -> None:
    info = CheckpointInfo("tiny", TINY_INFO.classes)
    checkpoint.save(tmp_path / "model.pt", info, network.state_dict())
    assert checkpoint.read(tmp_path / "model.pt")[0] == info
