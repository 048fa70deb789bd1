"""Runs: stopped and continued as if nothing had happened, and never losing what was good."""

import csv
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made.tiny import TINY, TINY_INFO, TINY_LESSON, disc_image

from nuhtc.runtime.ground.errors import OutputError, TrainingError
from nuhtc.training.augmentation.augment import AugmentSettings
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.data.selection import TrainingData
from nuhtc.training.loop import loop
from nuhtc.training.loop.loop import LoopSettings, Run
from nuhtc.training.loop.processes import Processes
from nuhtc.training.loop.recipe import Recipe
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import PRESETS

RECIPE = Recipe(batch=2, warmup=2)
SETTINGS = LoopSettings(steps=4, workers=0, validate_every=100, save_every=1, seed=3)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(
        {"a": [disc_image(0), disc_image(1)], "b": [disc_image(2, typed=False)]},
        {"a": [disc_image(9, 100)], "b": []},
        {"a": 1.0, "b": 1.0},
    )


def start(
    folder: Path,
    data: TrainingData,
    settings: LoopSettings = SETTINGS,
    seed: int = 0,
    recipe: Recipe = RECIPE,
) -> Run:
    torch.manual_seed(seed)
    network = TINY.build(2)
    cpu = torch.device("cpu")
    goal = TINY_LESSON.objective
    return Run(TINY, TINY_INFO, network, goal, recipe, settings, data, folder, cpu)


def before_step(run: Run, step: int, act: Callable[[], None]) -> None:
    """Do something when a step begins."""
    inner = run._one_step

    def wrapped(batch: Any) -> dict[str, float]:
        if run.step == step:
            act()
        return inner(batch)

    run._one_step = wrapped  # type: ignore[method-assign]


def interrupt() -> None:
    raise KeyboardInterrupt


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of nested containers, by its place."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    return {k: v for key, item in items for k, v in tensors(item, f"{name}/{key}").items()}


def assert_same_file(a: Path, b: Path) -> None:
    (info_a, content_a), (info_b, content_b) = checkpoint.read(a), checkpoint.read(b)
    assert info_a == info_b
    first, second = tensors(content_a), tensors(content_b)
    assert first.keys() == second.keys() and len(first) > 50
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_stopped_run_continues_as_if_it_had_not(tmp_path: Path, data: TrainingData) -> None:
    start(tmp_path / "whole", data).train()
    stopped = start(tmp_path / "stopped", data)
    before_step(stopped, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    # Whatever weights and randomness the new process starts with are of no account.
    resumed = start(tmp_path / "stopped", data, seed=77)
    assert resumed.step == 2
    resumed.train()
    for name in ("last.pt", "model.pt"):
        assert_same_file(tmp_path / "whole" / name, tmp_path / "stopped" / name)


def test_steps_teach(tmp_path: Path, data: TrainingData) -> None:
    run = start(tmp_path, data)
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    run.train()
    still = [n for n, p in run.network.named_parameters() if torch.equal(p.detach(), before[n])]
    assert still == []
    info, content = checkpoint.read(run.last)
    assert info.steps == content["step"] == 4


def test_the_seed_decides(tmp_path: Path, data: TrainingData) -> None:
    short = replace(SETTINGS, steps=1)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        start(tmp_path / name, data, replace(short, seed=seed)).train()
    assert_same_file(tmp_path / "a" / "last.pt", tmp_path / "b" / "last.pt")
    with pytest.raises(AssertionError):
        assert_same_file(tmp_path / "a" / "last.pt", tmp_path / "c" / "last.pt")


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, data: TrainingData) -> None:
    start(tmp_path, data).train()
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path, kept)
    again = start(tmp_path, data, seed=5)
    again.train()
    assert again.step == 4
    for name in ("last.pt", "model.pt"):
        assert_same_file(tmp_path / name, kept / name)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number(tmp_path: Path, data: TrainingData, value: float) -> None:
    run = start(tmp_path, data)

    def spoil() -> None:
        with torch.no_grad():
            run.network.rpn.objectness.bias.fill_(value)

    before_step(run, 2, spoil)
    with pytest.raises(TrainingError) as caught:
        run.train()
    message = str(caught.value)
    assert "step 2" in message and "rpn_class" in message and str(run.last) in message
    _, content = checkpoint.read(run.last)
    assert content["step"] == 2
    assert all(bool(t.isfinite().all()) for t in tensors(content["state_dict"]).values())


def test_a_first_loss_that_is_no_number_promises_no_file(
    tmp_path: Path, data: TrainingData
) -> None:
    run = start(tmp_path, data)
    with torch.no_grad():
        run.network.mask.logits.bias.fill_(math.nan)
    with pytest.raises(TrainingError) as caught:
        run.train()
    assert "step 0 (mask)" in str(caught.value) and "last.pt" not in str(caught.value)


def test_a_folder_of_another_run(tmp_path: Path, data: TrainingData) -> None:
    other = replace(TINY_INFO, classes=TINY_INFO.classes[:1])
    checkpoint.save(tmp_path / "last.pt", other, TINY.build(1).state_dict())
    with pytest.raises(TrainingError, match="another preset or other classes"):
        start(tmp_path, data)


def test_a_model_in_place_of_a_run(tmp_path: Path, data: TrainingData) -> None:
    checkpoint.save(tmp_path / "last.pt", TINY_INFO, TINY.build(2).state_dict())
    with pytest.raises(TrainingError, match="weights only"):
        start(tmp_path, data)


def test_a_folder_that_cannot_be_made(tmp_path: Path, data: TrainingData) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--out"):
        start(tmp_path / "file" / "run", data).train()


def test_the_log_has_a_line_for_each_save(tmp_path: Path, data: TrainingData) -> None:
    settings = replace(SETTINGS, save_every=2, validate_every=2)
    start(tmp_path, data, settings).train()
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert 0 <= float(rows[0]["validation_pq"]) <= 1, "measured half way"
    for row in rows:
        parts = [float(row[name]) for name in row if name not in
                 ("step", "seconds", "learning_rate", "validation_pq", "loss")]  # fmt: skip
        assert float(row["loss"]) == pytest.approx(sum(parts), abs=1e-3)


def test_the_best_average_is_kept(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = iter([0.1, 0.5, 0.3, 0.2, 0.7])  # steps 1 to 4, then the kept model's figures
    monkeypatch.setattr(loop, "validate", lambda *_, **__: [])
    monkeypatch.setattr(loop, "summarise", lambda _: {"pq": next(qualities)})
    run = start(tmp_path, data, replace(SETTINGS, validate_every=1))
    averages = {}
    for step in (2, 3):
        before_step(
            run, step, lambda step=step: averages.update(  # type: ignore[misc]
                {step: {k: v.clone() for k, v in run.average.weights.items()}}
            ),
        )  # fmt: skip
    run.train()
    info, content = checkpoint.read(tmp_path / "model.pt")
    assert info.steps == 2
    assert info.metrics == (("a", (("pq", 0.7),)),)
    kept = content["state_dict"]
    assert all(torch.equal(kept[name], value) for name, value in averages[2].items())
    assert any(not torch.equal(kept[name], value) for name, value in averages[3].items())


def test_without_held_out_pictures_the_last_average_is_the_model(
    tmp_path: Path, data: TrainingData
) -> None:
    run = start(tmp_path, replace(data, validation={"a": [], "b": []}))
    run.train()
    info, content = checkpoint.read(tmp_path / "model.pt")
    assert info.steps == 4 and info.metrics == ()
    assert all(torch.equal(content["state_dict"][k], v) for k, v in run.average.weights.items())


def test_the_model_carries_figures_of_every_held_out_set(
    tmp_path: Path, data: TrainingData
) -> None:
    both = replace(data, validation={"a": data.validation["a"], "b": [disc_image(11, 100)]})
    start(tmp_path, both, replace(SETTINGS, steps=1)).train()
    info, _ = checkpoint.read(tmp_path / "model.pt")
    assert [name for name, _ in info.metrics] == ["a", "b"]
    for _, values in info.metrics:
        assert dict(values)["images"] == 1 and 0 <= dict(values)["pq"] <= 1
    loaded, _, _ = checkpoint.load_network(tmp_path / "model.pt")
    assert isinstance(loaded, NuHTC)


def test_the_rate_reaches_the_optimizer(tmp_path: Path, data: TrainingData) -> None:
    recipe = replace(RECIPE, warmup=10, learning_rate=0.01)
    run = start(tmp_path, data, replace(SETTINGS, steps=1), recipe=recipe)
    run.train()
    assert [group["lr"] for group in run.optimizer.param_groups] == pytest.approx([0.001, 0.001])


def test_what_is_frozen_stays_and_then_learns(tmp_path: Path, data: TrainingData) -> None:
    recipe = replace(RECIPE, frozen=("backbone.stem", "backbone.norm"), frozen_steps=2)
    run = start(tmp_path, data, recipe=recipe)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    seen: dict[int, set[str]] = {}

    def note() -> None:
        now = run.network.state_dict()
        seen[run.step] = {name for name in now if not torch.equal(now[name], before[name])}

    for step in (2, 3):
        before_step(run, step, note)
    run.train()
    frozen = {name for name in before if name.startswith(("backbone.stem.", "backbone.norm."))}
    assert not seen[2] & frozen, "neither weights nor running statistics"
    assert "rpn.conv.weight" in seen[2]
    assert {"backbone.stem.weight", "backbone.norm.running_mean"} <= seen[3]


def test_a_batch_that_cannot_be_shared(tmp_path: Path, data: TrainingData) -> None:
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    with pytest.raises(TrainingError, match="batch of 2 tiles cannot be shared by 3 processes"):
        Run(
            TINY, TINY_INFO, TINY.build(2), TINY_LESSON.objective, RECIPE, SETTINGS, data, tmp_path,
            cpu, Processes(0, 3),
        )  # fmt: skip


def test_tiles_at_the_scale_of_the_network(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarging = replace(TINY, tile=128, network=replace(TINY.network, input_scale=1.5))
    monkeypatch.setitem(PRESETS, "tiny", enlarging)
    still = AugmentSettings(scale=(1, 1), rotation=0, shear=0, stain=0, colour=0, blur=0, noise=0)
    sizes = {}
    for name, tile in (("enlarged", None), ("at scale", 192)):
        recipe = replace(RECIPE, tile=tile, augment=still)
        cpu = torch.device("cpu")
        network = enlarging.build(2)
        goal, folder = TINY_LESSON.objective, tmp_path / name
        run = Run(enlarging, TINY_INFO, network, goal, recipe, SETTINGS, data, folder, cpu)
        scale = run.network.settings.input_scale
        seen = [run.tiles[number] for number in range(40)]
        assert {one.rgb.shape for one in seen} == {(tile or 128, tile or 128, 3)}
        assert run.network.prepare(seen[0].rgb[None]).shape[-1] == 192
        sides = torch.cat([one.boxes[:, 2:] - one.boxes[:, :2] for one in seen]).amax(dim=1)
        sizes[name] = float(sides.quantile(0.8)) * scale
        run.train()
    # The whole nuclei are as large to the network either way, up to a pixel's rounding.
    assert sizes["at scale"] == pytest.approx(sizes["enlarged"], abs=1.5)
    # What it learned is of use at the preset's own scale.
    loaded, preset, _ = checkpoint.load_network(tmp_path / "at scale/model.pt")
    assert preset is enlarging and loaded.settings.input_scale == 1.5


def test_class_aware_runs(tmp_path: Path, data: TrainingData) -> None:
    run = start(tmp_path, data, recipe=replace(RECIPE, class_aware=True))
    run.train()
    assert run.step == 4


def test_a_killed_run_ends_with_the_same_log(tmp_path: Path, data: TrainingData) -> None:
    start(tmp_path / "whole", data).train()
    stopped = start(tmp_path / "stopped", data)
    saved = stopped._save_last

    def killed() -> None:
        if stopped.step == 3:  # its line in the log is written, its checkpoint is not
            raise KeyboardInterrupt
        saved()

    stopped._save_last = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    start(tmp_path / "stopped", data, seed=77).train()
    logs = []
    for name in ("whole", "stopped"):
        with (tmp_path / name / "log.csv").open(newline="") as file:
            logs.append([{k: v for k, v in row.items() if k != "seconds"}
                         for row in csv.DictReader(file)])  # fmt: skip
    assert logs[0] == logs[1] and [row["step"] for row in logs[0]] == ["1", "2", "3", "4"]
