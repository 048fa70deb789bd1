"""Published files: taken as they are, refused with a list, and never run."""

import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.published import PARITY, manifest
from torch import Tensor

from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints.published import load_published, read_published

pytestmark = pytest.mark.skipif(
    not (PARITY / "state_dict_manifest.json").exists(), reason="key list absent: ../shared/parity"
)

NAMES = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")
PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
PATCH_BIAS = "backbone.patch_embed.projection.bias"
MERGE = "backbone.stages.0.downsample.reduction.weight"


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """A complete ``state_dict`` of zeros that takes next to no room in a file."""
    return OrderedDict(
        (key, torch.zeros(1, dtype=getattr(torch, entry["dtype"])).expand(entry["shape"]))
        for key, entry in manifest().items()
    )


def write(path: Path, tensors: dict[str, Tensor], meta: Any = None, **options: Any) -> Path:
    torch.save({"state_dict": tensors, "meta": meta or {}}, path, **options)
    return path


def test_a_complete_file_fits(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors[PATCH_BIAS] = torch.arange(96.0)
    network, published = load_published(write(tmp_path / "a.pth", tensors))
    assert published.class_count == 5
    assert published.class_names is None
    assert published.class_colors is None
    assert not network.training
    assert torch.equal(network.state_dict()["backbone.patch.bias"], torch.arange(96.0))


def test_classes_come_from_the_meta(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    meta = {"CLASSES": NAMES, "PALETTE": PALETTE, "config": "model = dict()", "epoch": 200}
    published = read_published(write(tmp_path / "a.pth", tensors, meta))
    assert published.class_names == NAMES
    assert published.class_colors == tuple(PALETTE)


@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": NAMES[:3], "PALETTE": PALETTE[:3]},
        {"CLASSES": [1, 2, 3, 4, 5], "PALETTE": [(0, 0, 256)] * 5},
        {"CLASSES": 5, "PALETTE": [(0, 0)] * 5},
        {"CLASSES": None, "PALETTE": "random"},
        {"CLASSES": ["A", "B", "C", "D", "A"]},
    ],
)
def test_unusable_class_lists_are_none(
    meta: dict[str, Any], tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    published = read_published(write(tmp_path / "a.pth", tensors, meta))
    assert published.class_names is None
    assert published.class_colors is None


@pytest.mark.parametrize("count", [1, 7])
def test_other_class_counts(count: int, tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    for i in range(3):
        head = f"roi_head.bbox_head.{i}"
        tensors[f"{head}.fc_cls.weight"] = torch.zeros(count + 2, 256)
        tensors[f"{head}.fc_cls.bias"] = torch.zeros(count + 2)
    network, published = load_published(write(tmp_path / "a.pth", tensors, {"CLASSES": "nucleus"}))
    assert network.classes == published.class_count == count
    assert published.class_names == (("nucleus",) if count == 1 else None)


def test_averaging_copies_and_structural_buffers_are_ignored(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    whole, _ = load_published(write(tmp_path / "a.pth", tensors))
    for key in list(tensors):
        tensors[f"ema_{key.replace('.', '_')}"] = torch.ones(1).expand(tensors[key].shape)
        if key.endswith(("relative_position_index", "cum_samples", "kernel")):
            del tensors[key]
    bare, _ = load_published(write(tmp_path / "b.pth", tensors))
    assert all(torch.equal(x, bare.state_dict()[k]) for k, x in whole.state_dict().items())


def test_patch_merging_inputs_are_put_in_order(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    channel = torch.arange(96.0).repeat_interleave(4)
    neighbour = torch.arange(4.0).repeat(96)  # top left, top right, bottom left, bottom right
    tensors[MERGE] = (channel * 10 + neighbour).expand(192, 384)
    weights = read_published(write(tmp_path / "a.pth", tensors)).weights
    row = weights["backbone.merges.0.reduction.weight"][7]
    for block, published in enumerate((0, 2, 1, 3)):
        assert torch.equal(row[block * 96 : (block + 1) * 96], torch.arange(96.0) * 10 + published)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.pop(PATCH_BIAS), f"1 missing: {PATCH_BIAS}"),
        (lambda t: t.update(extra=torch.zeros(1)), "1 unknown: extra"),
        (
            lambda t: t.update({PATCH_BIAS: torch.zeros(95)}),
            f"1 wrong shape: {PATCH_BIAS} (95,) instead of (96,)",
        ),
        (lambda t: t.update({MERGE: torch.zeros(192, 383)}), f"1 wrong shape: {MERGE}"),
        (lambda t: t.update({MERGE: torch.tensor(0.0)}), f"1 wrong shape: {MERGE} ()"),
        (lambda t: t.update({PATCH_BIAS: torch.full((96,), np.nan)}), "1 not finite"),
        (lambda t: t.update({PATCH_BIAS: "text"}), f"1 no tensor: {PATCH_BIAS}"),
        (lambda t: t.update({PATCH_BIAS: torch.zeros(96, dtype=torch.int8)}), "1 no tensor"),
        (lambda t: [t.pop(k) for k in list(t) if "fc_cls" in k], "6 missing: "),
        (lambda t: t.clear(), "255 missing: "),
    ],
)
def test_what_does_not_fit_is_listed(
    change: Callable[[dict[str, Any]], object],
    expected: str,
    tmp_path: Path,
    tensors: dict[str, Tensor],
) -> None:
    change(tensors)
    path = write(tmp_path / "bad.pth", tensors)
    with pytest.raises(CheckpointError) as caught:
        load_published(path)
    message = str(caught.value)
    assert str(path) in message and expected in message and "\n" not in message


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_in_the_meta_do_no_harm(
    zipped: bool, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    meta = {
        "hook_msgs": {"best_score": np.float64(0.5), "seen": np.int64(3), "map": np.ones(2)},
        "CLASSES": NAMES,
    }
    path = write(tmp_path / "a.pth", tensors, meta, _use_new_zipfile_serialization=zipped)
    assert read_published(path).class_names == NAMES


class Trap:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["meta", "state_dict"])
def test_code_in_a_file_never_runs(
    place: str, zipped: bool, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    mark = tmp_path / "mark"
    # PyTorch blocks os and sys by name; subprocess has to be made harmless here.
    trap = Trap(subprocess.check_call, ["touch", str(mark)])
    content: dict[str, Any] = {"state_dict": tensors, "meta": {"CLASSES": NAMES}}
    content[place]["trap"] = trap
    path = tmp_path / "trap.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    if place == "meta":
        assert read_published(path).class_names == NAMES
    else:
        with pytest.raises(CheckpointError, match="trap"):
            read_published(path)
    assert not mark.exists()


@pytest.mark.parametrize("call", [eval, exec])
def test_built_in_code_runners_are_refused(
    call: Callable[..., Any], tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "trap.pth"
    trap = Trap(call, f"open({str(mark)!r}, 'w')")
    torch.save({"state_dict": tensors, "meta": {"trap": trap}}, path)
    with pytest.raises(CheckpointError, match="not loaded"):
        read_published(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"state_dict": {}}), b"PK\x05\x06" + bytes(18)],
    ids=["empty", "text", "pickle", "empty zip"],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        read_published(path)


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"state_dict": 3}])
def test_files_without_a_state_dict_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no 'state_dict'"):
        read_published(tmp_path / "other.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(
    zipped: bool, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "a.pth", tensors, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=r"a\.pth"):
            read_published(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_published(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match=tmp_path.name):
        read_published(tmp_path)
