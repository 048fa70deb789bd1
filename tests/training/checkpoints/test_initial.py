"""Start weights: taken whole, but for classifiers of another number of classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made.tiny import TINY, TINY_INFO
from reference.published import PARITY, manifest
from torch import Tensor

from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.initial import initialise
from nuhtc.training.checkpoints.open import read_checkpoint
from nuhtc.training.network.nuhtc import PARTS, NuHTC
from nuhtc.training.network.presets import LITE0, SWIN_T

CLASSIFIERS = tuple(
    f"stages.{i}.classifier.{leaf}" for i in range(3) for leaf in ("weight", "bias")
)


def built(classes: int, seed: int) -> NuHTC:
    torch.manual_seed(seed)
    return TINY.build(classes)


def saved(path: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    """Write a checkpoint of two classes."""
    weights: dict[str, Any] = dict(built(2, 7).state_dict())
    change(weights)
    checkpoint.save(path, TINY_INFO, weights)
    return path


def copied(network: NuHTC) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_the_same_classes_take_every_weight(tmp_path: Path) -> None:
    network = built(2, 1)
    assert initialise(network, [read_checkpoint(saved(tmp_path / "model.pt"))], TINY) == ()
    wanted = built(2, 7).state_dict()
    assert all(torch.equal(x, wanted[name]) for name, x in network.state_dict().items())


def test_other_classes_keep_their_fresh_classifiers(tmp_path: Path) -> None:
    network = built(4, 1)
    before, wanted = copied(network), built(2, 7).state_dict()
    fresh = initialise(network, [read_checkpoint(saved(tmp_path / "model.pt"))], TINY)
    assert sorted(fresh) == sorted(CLASSIFIERS)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (before if name in fresh else wanted)[name]), name


def test_several_give_their_mean(tmp_path: Path) -> None:
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    checkpoint.save(paths[0], TINY_INFO, dict(built(2, 7).state_dict()))
    checkpoint.save(paths[1], TINY_INFO, dict(built(2, 8).state_dict()))
    network = built(2, 1)
    assert initialise(network, [read_checkpoint(path) for path in paths], TINY) == ()
    a, b = built(2, 7).state_dict(), built(2, 8).state_dict()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, a[name] / 2 + b[name] / 2)
        else:
            assert torch.equal(tensor, b[name])
    checkpoint.save(paths[1], TINY_INFO, dict(built(3, 8).state_dict()))
    with pytest.raises(CheckpointError, match=r"b\.pt: has another number of classes than .*a\.pt"):
        initialise(network, [read_checkpoint(path) for path in paths], TINY)


def test_parts_that_are_asked_to_start_afresh(tmp_path: Path) -> None:
    # The file's mask head is another one, and it has no RPN at all.
    def change(weights: dict[str, Any]) -> None:
        weights["mask.more.weight"] = torch.zeros(3)
        weights["mask.logits.bias"] = torch.tensor(float("nan"))
        for name in [name for name in weights if name.startswith("rpn.")]:
            del weights[name]

    path = saved(tmp_path / "model.pt", change)
    network = built(4, 1)
    before, wanted = copied(network), built(2, 7).state_dict()
    assert sorted(initialise(network, [read_checkpoint(path)], TINY, ("mask", "rpn"))) == sorted(
        CLASSIFIERS
    )
    for name, tensor in network.state_dict().items():
        kept = name.startswith(("mask.", "rpn.")) or name in CLASSIFIERS
        assert torch.equal(tensor, (before if kept else wanted)[name]), name
    with pytest.raises(CheckpointError, match=r"rpn\.conv\.bias"):
        initialise(network, [read_checkpoint(path)], TINY, ("mask",))


def test_every_tensor_belongs_to_a_part() -> None:
    assert {name.partition(".")[0] for name in built(2, 1).state_dict()} == set(PARTS)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("mask.logits.bias"), "1 missing: mask.logits.bias"),
        (lambda w: w.pop(CLASSIFIERS[0]), f"1 missing: {CLASSIFIERS[0]}"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unknown: extra"),
        (
            lambda w: w.update({"rpn.conv.bias": torch.zeros(3)}),
            "1 wrong shape: rpn.conv.bias (3,)",
        ),
        (lambda w: w.update({CLASSIFIERS[3]: torch.zeros(9)}), f"1 wrong shape: {CLASSIFIERS[3]}"),
        (lambda w: w.update({CLASSIFIERS[1]: torch.tensor(0.0)}), f"wrong shape: {CLASSIFIERS[1]}"),
        (lambda w: w.update({CLASSIFIERS[0]: torch.zeros(4, 9)}), f"wrong shape: {CLASSIFIERS[0]}"),
        (lambda w: w["rpn.conv.bias"].fill_(torch.nan), "1 not finite: rpn.conv.bias"),
        (lambda w: w.update({"rpn.conv.bias": 3}), "not all tensors"),
        (lambda w: w.clear(), " missing: "),
    ],
)
def test_what_does_not_fit_is_listed_and_changes_nothing(
    change: Callable[[dict[str, Any]], object], expected: str, classes: int, tmp_path: Path
) -> None:
    network = built(classes, 1)
    before = copied(network)
    path = saved(tmp_path / "model.pt", change)
    with pytest.raises(CheckpointError) as caught:
        initialise(network, [read_checkpoint(path)], TINY)
    message = str(caught.value)
    assert str(path) in message and expected in message and "\n" not in message
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_another_preset_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is for --preset tiny, not for lite0"):
        initialise(built(2, 1), [read_checkpoint(saved(tmp_path / "model.pt"))], LITE0)


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"])
def test_files_that_are_none(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        initialise(built(2, 1), [read_checkpoint(path)], TINY)


needs_manifest = pytest.mark.skipif(
    not (PARITY / "state_dict_manifest.json").exists(), reason="key list absent: ../shared/parity"
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file of five classes whose tensors are all 0.5."""
    tensors = {
        key: torch.full((1,), 0.5).to(getattr(torch, entry["dtype"])).expand(entry["shape"])
        for key, entry in manifest().items()
    }
    path = tmp_path / "pannuke.pth"
    torch.save({"state_dict": tensors, "meta": {}}, path)
    return path


@needs_manifest
@pytest.mark.parametrize(("classes", "kept"), [(5, ()), (3, CLASSIFIERS)])
def test_published_files(classes: int, kept: tuple[str, ...], published: Path) -> None:
    network = SWIN_T.build(classes)
    before = {name: network.state_dict()[name].clone() for name in CLASSIFIERS}
    assert sorted(initialise(network, [read_checkpoint(published)], SWIN_T)) == sorted(kept)
    for name, tensor in network.state_dict().items():
        if name in kept:
            assert torch.equal(tensor, before[name])
        else:
            assert bool((tensor == 0.5).all()), name


@needs_manifest
def test_published_files_are_for_one_preset(published: Path) -> None:
    with pytest.raises(CheckpointError, match="is for --preset swin_t, not for tiny"):
        initialise(built(2, 1), [read_checkpoint(published)], TINY)
