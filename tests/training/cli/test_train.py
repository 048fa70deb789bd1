"""``nuhtc-train``: a whole run, and one clear line for everything that is wrong."""

import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny import TINY, TINY_LESSON, disc_image
from PIL import Image
from places import PROGRAMS

from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.cli.train import main
from nuhtc.training.data.selection import select
from nuhtc.training.loop.loop import Run
from nuhtc.training.loop.recipe import LESSONS
from nuhtc.training.network.presets import PRESETS

TRAIN_TINY = PROGRAMS / "train_tiny.py"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setitem(LESSONS, "tiny", TINY_LESSON)


def write_set(root: Path, stems: list[str], *, typed: bool = True) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for seed, stem in enumerate(stems):
        picture = disc_image(seed, 100)
        Image.fromarray(picture.rgb).save(root / "images" / f"{stem}.png")
        arrays = {"inst_map": picture.instances.astype(np.uint16)}
        if typed and picture.types is not None:
            types = np.where(picture.instances > 0, picture.types[picture.instances] + 1, 0)
            arrays["type_map"] = types.astype(np.uint8)
        np.savez(root / "labels" / f"{stem}.npz", **arrays)
    return root


@pytest.fixture
def consep(tmp_path: Path) -> Path:
    return write_set(tmp_path / "consep", ["train_1", "train_2", "train_3"])


@pytest.fixture
def tnbc(tmp_path: Path) -> Path:
    return write_set(tmp_path / "tnbc", ["01_1", "03_1", "03_2"], typed=False)


def arguments(data: list[Path], out: Path, *more: str) -> list[str]:
    return [
        "--preset", "tiny", "--no-imagenet", "--device", "cpu", "--workers", "0",
        "--steps", "2", "--batch", "2", "--data", *map(str, data), "--out", str(out), *more,
    ]  # fmt: skip


def failure(capsys: pytest.CaptureFixture[str], argv: list[str], code: int = 1) -> str:
    """Run, expect the code and one line on stderr; return the line."""
    assert main(argv) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and lines[-1].startswith("nuhtc-train: ")
    assert "Traceback" not in captured.err
    return lines[-1]


def test_a_run_and_its_continuation(
    consep: Path, tnbc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(arguments([consep, tnbc], out)) == 0
    captured = capsys.readouterr()
    assert "consep: 2 pictures to learn from, 1 held out" in captured.err
    assert "tnbc: 1 pictures to learn from, 2 held out" in captured.err
    assert "step 0 of 2" in captured.err
    assert captured.out.startswith(f"{out / 'model.pt'}: step ")
    names = {path.name for path in out.iterdir()}
    assert names == {"last.pt", "model.pt", "log.csv", "curves.png", "tensorboard"}
    info, _ = checkpoint.read(out / "model.pt")
    assert [c.name for c in info.classes] == ["Other", "Inflammatory", "Epithelial", "Spindle"]
    assert [d.name for d in info.data] == ["CoNSeP", "TNBC"]
    assert [name for name, _ in info.metrics] == ["consep", "tnbc"]

    assert main(arguments([consep, tnbc], out, "--steps", "3")) == 0
    assert "step 2 of 3" in capsys.readouterr().err
    _, content = checkpoint.read(out / "last.pt")
    assert content["step"] == 3


def test_the_same_command_gives_the_same_model(consep: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        assert main(arguments([consep], tmp_path / name)) == 0
        weights.append(checkpoint.read(tmp_path / name / "last.pt")[1]["state_dict"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_weights_bring_their_data_along(
    consep: Path, tnbc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments([tnbc], tmp_path / "first")) == 0
    start = tmp_path / "first" / "model.pt"
    argv = [a for a in arguments([consep], tmp_path / "second") if a != "--no-imagenet"]
    capsys.readouterr()
    assert main([*argv, "--init-from", str(start)]) == 0
    assert "has other classes; these start afresh: stages.0.classifier" in capsys.readouterr().err
    info, _ = checkpoint.read(tmp_path / "second" / "model.pt")
    assert [item.name for item in info.data] == ["CoNSeP", "TNBC"]


def test_parts_that_start_afresh_and_parts_that_do_not_learn(consep: Path, tmp_path: Path) -> None:
    assert main(arguments([consep], tmp_path / "first")) == 0
    start = tmp_path / "first" / "model.pt"
    argv = [a for a in arguments([consep], tmp_path / "second") if a != "--no-imagenet"]
    argv += ["--init-from", str(start), "--fresh", "mask", "--freeze", "backbone", "stages", "rpn"]
    assert main(argv) == 0
    before = checkpoint.read(start)[1]["state_dict"]
    after = checkpoint.read(tmp_path / "second" / "last.pt")[1]["state_dict"]
    same = {name.partition(".")[0] for name in after if torch.equal(after[name], before[name])}
    other = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert (same, other) == ({"backbone", "stages", "rpn"}, {"pyramid", "semantic", "mask"})


def test_epochs_are_rounds_through_the_data(
    consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments([consep], tmp_path / "run")
    at = argv.index("--steps")
    del argv[at : at + 2]
    # Two pictures to learn from, two tiles a step: one step an epoch.
    assert main([*argv, "--epochs", "3"]) == 0
    assert "step 0 of 3" in capsys.readouterr().err
    assert checkpoint.read(tmp_path / "run" / "last.pt")[1]["step"] == 3


def test_data_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, arguments([tmp_path / "missing"], tmp_path / "run"))
    assert str(tmp_path / "missing") in message
    assert not (tmp_path / "run").exists()


def test_a_damaged_label(consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = consep / "labels" / "train_2.npz"
    label.write_bytes(label.read_bytes()[:100])
    assert str(label) in failure(capsys, arguments([consep], tmp_path / "run"))


def test_one_data_set_twice(
    consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "already" in failure(capsys, arguments([consep, consep], tmp_path / "run"))


def test_nothing_left_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = write_set(tmp_path / "consep", ["train_3", "train_8"])
    assert "held out" in failure(capsys, arguments([held], tmp_path / "run"))


def test_imagenet_weights_that_nobody_has(
    consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [a for a in arguments([consep], tmp_path / "run") if a != "--no-imagenet"]
    assert "--no-imagenet" in failure(capsys, argv)


def test_an_out_that_is_a_file(
    consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").touch()
    assert str(tmp_path / "run") in failure(capsys, arguments([consep], tmp_path / "run"))


def test_a_damaged_run(consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"nonsense")
    message = failure(capsys, arguments([consep], tmp_path / "run"))
    assert str(tmp_path / "run" / "last.pt") in message


def test_control_c(
    consep: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "train", stop)
    assert "continues from" in failure(capsys, arguments([consep], tmp_path / "run"), code=130)


def test_a_second_process_is_refused_until_the_first_is_killed(
    consep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    endless = arguments([consep], out, "--steps", "1000000", "--save-every", "1")
    with subprocess.Popen([sys.executable, str(TRAIN_TINY), *endless, "--workers", "1"]) as first:
        deadline = time.monotonic() + 240
        while not (out / "last.pt").exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        message = failure(capsys, arguments([consep], out))
        assert message.startswith(f"nuhtc-train: {out}: another nuhtc-train")
        assert message.endswith("another --out")
        assert first.poll() is None
        first.kill()
    step = checkpoint.read(out / "last.pt")[1]["step"]
    assert main(arguments([consep], out, "--steps", str(step + 1))) == 0
    assert checkpoint.read(out / "last.pt")[1]["step"] == step + 1
    assert not (out / ".lock").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--steps", "0"],
        ["--batch", "-1"],
        ["--save-every", "0"],
        ["--tile", "100"],
        ["--tile", "32"],
        ["--validate-every", "0"],
        ["--workers", "-1"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--steps", "many"],
        ["--preset", "giant"],
        ["--device", "abacus"],
        ["--unknown"],
        ["--fresh", "mask"],
        ["--freeze", "neck"],
        ["--freeze", "mask"],  # beside --no-imagenet
    ],
)
def test_wrong_usage(wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments([tmp_path], tmp_path / "run", *wrong))
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments([tmp_path], tmp_path / "run", "--device", "cuda"))
    assert caught.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--preset", "--data", "--out", "--steps", "--seed", "--no-imagenet"):
        assert option in text


def test_the_first_data_set_weighs_as_much_as_the_rest(consep: Path, tnbc: Path) -> None:
    third = write_set(tnbc.parent / "mine", ["a", "b", "c", "d"], typed=False)
    data = select([consep, tnbc, third]).data
    assert list(data.weights) == ["consep", "tnbc", "mine"]
    assert data.weights["consep"] == data.weights["tnbc"] + data.weights["mine"]
    assert data.weights["tnbc"] == data.weights["mine"]
    names = {
        name: {data.train[name][i].name for i in range(len(data.train[name]))}
        & {data.validation[name][i].name for i in range(len(data.validation[name]))}
        for name in data.train
    }
    assert all(not both for both in names.values()), "no picture on both sides"


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="nuhtc-train")
    assert script.load() is main
