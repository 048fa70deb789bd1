"""Logs: whole rows, the same after a kill as without one, and errors that say what to do."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nuhtc.runtime.ground.errors import TrainingError
from nuhtc.training.loop.logs import FIRST_COLUMNS, TrainingLog, read_log

HEADER = "step,seconds,learning_rate,validation_pq,loss,box,mask\n"


def report(log: TrainingLog, first: int, last: int, *, slow: float = 1.0) -> None:
    """Write steps as a run does: the figures follow from the step."""
    for step in range(first, last + 1):
        losses = {"box": 1 / step, "mask": 0.5}
        quality = {"pq": step / 100, "dice": 0.75} if step % 3 == 0 else None
        log.write(step, slow * (step - first + 1), losses, 1e-3 / step, quality)


def without_seconds(folder: Path) -> list[list[str]]:
    lines = (folder / "log.csv").read_text("utf-8").splitlines()
    rows = [line.split(",") for line in lines]
    return [row[:1] + row[2:] for row in rows]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard would show."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def test_rows(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        log.write(10, 1.26, {"box": 0.25, "mask": 1.0}, 6e-4, None)
        assert (tmp_path / "log.csv").read_text("utf-8") == HEADER + "10,1.3,0.0006,,1.25,0.25,1\n"
        log.write(20, 2.0, {"box": 1 / 3, "mask": 1e-7}, 1e-10, {"pq": 0.5, "aji": 0.4})
    assert (tmp_path / "log.csv").read_text("utf-8") == (
        HEADER + "10,1.3,0.0006,,1.25,0.25,1\n" + "20,2.0,1e-10,0.5,0.333333,0.333333,1e-07\n"
    )
    table = read_log(tmp_path / "log.csv")
    assert table.columns == (*FIRST_COLUMNS, "box", "mask")
    assert table.numbers("loss") == [1.25, 0.333333]
    assert str(table.numbers("validation_pq")) == "[nan, 0.5]"


def test_a_killed_run_ends_in_the_same_rows(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    with TrainingLog(whole, 0) as log:
        report(log, 1, 9)
    with TrainingLog(killed, 0) as log:
        report(log, 1, 7, slow=2)
    # Killed while writing; the last checkpoint is of step 4.
    with (killed / "log.csv").open("a") as file:
        file.write("8,9.0,0.00")
    with TrainingLog(killed, 4) as log:
        report(log, 5, 9)
    assert without_seconds(killed) == without_seconds(whole)
    assert read_log(killed / "log.csv").numbers("seconds") == [2, 4, 6, 8, 9, 10, 11, 12, 13]
    assert scalars(killed) == scalars(whole)
    assert not list(killed.glob("*.partial"))


def test_a_run_that_starts_again_forgets_the_rows(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        log.write(1, 1.0, {"other": 1.0}, 0.1)
    with TrainingLog(tmp_path, 0) as log:
        assert not (tmp_path / "log.csv").read_text("utf-8")
        report(log, 1, 2)
    assert without_seconds(tmp_path)[1:] == [
        ["1", "0.001", "", "1.5", "1", "0.5"],
        ["2", "0.0005", "", "1", "0.5", "0.5"],
    ]


def test_a_resumed_run_keeps_rows_even_if_nothing_follows(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        report(log, 1, 3)
    before = (tmp_path / "log.csv").read_bytes()
    with TrainingLog(tmp_path, 3):
        pass
    assert (tmp_path / "log.csv").read_bytes() == before


def test_tensorboard_has_every_figure(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        report(log, 1, 3)
        shown = scalars(tmp_path)
    assert [step for step, _ in shown["loss/box"]] == [1, 2, 3]
    assert shown["loss/total"][0] == (1, 1.5)
    assert shown["learning_rate"][1] == (2, pytest.approx(5e-4))
    assert shown["validation/pq"] == [(3, pytest.approx(0.03))]
    assert shown["validation/dice"] == [(3, 0.75)]


def test_without_tensorboard_there_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.WARNING), TrainingLog(tmp_path, 0) as log:
        report(log, 1, 2)
    assert caplog.messages == ["no TensorBoard files are written: pip install tensorboard"]
    assert not (tmp_path / "tensorboard").exists()
    assert len(without_seconds(tmp_path)) == 3


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0, wandb=True, active=False) as log:
        report(log, 1, 3)
    assert not list(tmp_path.iterdir())


def test_files_are_closed_on_errors(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0)
    with pytest.raises(ZeroDivisionError), log:
        report(log, 1, 2)
        raise ZeroDivisionError
    log.write(3, 1.0, {"box": 1.0, "mask": 1.0}, 0.1)
    assert len(without_seconds(tmp_path)) == 3, "and nothing is written later"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\r\n\xff\xfe\n", "it is not text"),
        (b"epoch,loss\n1,2\n", "its first line does not name a run's columns"),
        (b"\n", "its first line does not name a run's columns"),
        (HEADER.encode() + b"1,1.0,0.1,,1,1\n", "line 2 is wrong"),
        (HEADER.encode() + b"1,1.0,0.1,,1,1,0\nx,1.0,0.1,,1,1,0\n", "line 3 is wrong"),
        (HEADER.encode() + b"1,1.0,0.1,,1,1,0\n1,1.0,0.1,,1,1,0\n", "line 3 is wrong"),
        (HEADER.encode() + b"1,1.0,abc,,1,1,0\n", "line 2 is wrong"),
        (HEADER.encode() + b"\n", "line 2 is wrong"),
    ],
)
def test_a_file_that_is_no_log_stays(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught, TrainingLog(tmp_path, 5):
        pass
    assert str(caught.value).startswith(f"{path}: is no log of a run, or damaged ({reason})")
    assert "rename or remove it" in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"step,seco"])
def test_a_file_that_was_hardly_begun_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    assert read_log(tmp_path / "log.csv").rows == ()
    with TrainingLog(tmp_path, 0) as log:
        report(log, 1, 1)
    assert len(without_seconds(tmp_path)) == 2


def test_other_losses_than_before(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        report(log, 1, 2)
    with (
        TrainingLog(tmp_path, 2) as log,
        pytest.raises(TrainingError, match=r"log\.csv: has other columns than this run"),
    ):
        log.write(3, 1.0, {"box": 1.0, "new": 1.0}, 0.1)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(TrainingError, match=r"missing: the log cannot be written \(No such"),
        TrainingLog(tmp_path / "missing", 0),
    ):
        pass
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(TrainingError, match=r"log\.csv: cannot be read"), TrainingLog(tmp_path, 0):
        pass


class FakeWandb(SimpleNamespace):
    """What is used of the package, written down."""

    def __init__(self) -> None:
        super().__init__(started=[], rows=[], finished=[])

    def init(self, **how: Any) -> Any:
        self.started.append(how)
        return SimpleNamespace(
            log=lambda figures, step: self.rows.append((step, figures)),
            finish=lambda exit_code: self.finished.append(exit_code),
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_gets_every_figure(tmp_path: Path, wandb: FakeWandb) -> None:
    with TrainingLog(tmp_path, 0, wandb=True) as log:
        report(log, 1, 3)
    assert [step for step, _ in wandb.rows] == [1, 2, 3]
    assert wandb.rows[2][1] == {
        "learning_rate": 1e-3 / 3,
        "loss/total": 1 / 3 + 0.5,
        "loss/box": 1 / 3,
        "loss/mask": 0.5,
        "validation/pq": 0.03,
        "validation/dice": 0.75,
    }
    assert wandb.finished == [0]
    (how,) = wandb.started
    assert how["name"] == tmp_path.name and how["dir"] == str(tmp_path)


def test_wandb_continues_a_run(tmp_path: Path, wandb: FakeWandb) -> None:
    log = TrainingLog(tmp_path, 0, wandb=True)
    with pytest.raises(KeyboardInterrupt), log:
        report(log, 1, 2)
        raise KeyboardInterrupt
    for step in (2, 0):
        with TrainingLog(tmp_path, step, wandb=True):
            pass
    assert wandb.finished == [1, 0, 0]
    first, resumed, anew = (how["id"] for how in wandb.started)
    assert first == resumed != anew
    assert all(how["resume"] == "allow" for how in wandb.started)


def test_wandb_is_left_alone_unless_asked_for(tmp_path: Path, wandb: FakeWandb) -> None:
    with TrainingLog(tmp_path, 0) as log:
        report(log, 1, 1)
    assert wandb.started == wandb.rows == wandb.finished == []


def test_without_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(TrainingError, match="pip install wandb"),
        TrainingLog(tmp_path, 0, wandb=True),
    ):
        pass
    assert not list(tmp_path.iterdir()), "nothing is begun"


def test_wandb_refuses(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**how: Any) -> Any:
        raise RuntimeError("api_key not configured\nsecond line")

    monkeypatch.setattr(wandb, "init", refuse)
    with (
        pytest.raises(TrainingError, match=r"\(api_key not configured\); run `wandb login`"),
        TrainingLog(tmp_path, 0, wandb=True),
    ):
        pass


def test_wandb_is_told_when_a_file_fails(tmp_path: Path, wandb: FakeWandb) -> None:
    (tmp_path / "log.csv").write_text("mine\n")
    with (
        pytest.raises(TrainingError, match="no log of a run"),
        TrainingLog(tmp_path, 0, wandb=True),
    ):
        pass
    assert wandb.finished == [1]
