"""What a run reports as it goes: ``log.csv``, TensorBoard and, if asked for, Weights & Biases.

A run that was killed and continued leaves the same ``log.csv`` as one that was not, but for the
seconds: rows of steps that are done again are dropped, and every row is written whole.
"""

import contextlib
import importlib
import io
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nuhtc.runtime.ground.errors import TrainingError, first_line

FIRST_COLUMNS = ("step", "seconds", "learning_rate", "validation_pq", "loss")
"""The columns of every ``log.csv``; one for each part of the loss follows."""

TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's files within the run's."""

logger = logging.getLogger("nuhtc")


@dataclass(frozen=True)
class LogTable:
    """The content of a ``log.csv``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As they are written; the step of each is above the one before."""

    def numbers(self, column: str) -> list[float]:
        """Return one column as numbers, NaN where nothing is written."""
        place = self.columns.index(column)
        return [float(row[place] or "nan") for row in self.rows]


def read_log(path: Path) -> LogTable:
    """Read a run's ``log.csv``.

    The last line counts only if it is complete: a killed run may have been writing it.

    Raises
    ------
    TrainingError
        The file is missing, damaged or none of ours.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TrainingError(_damaged(path, "it is not text")) from error
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        return LogTable(FIRST_COLUMNS, ())
    header, *rows = (line.split(",") for line in whole.split("\n")[:-1])
    if tuple(header[: len(FIRST_COLUMNS)]) != FIRST_COLUMNS:
        raise TrainingError(_damaged(path, "its first line does not name a run's columns"))
    before = -1
    for number, row in enumerate(rows, 2):
        try:
            step = int(row[0])
            fits = len(row) == len(header) and step > before
            for value in row[1:]:
                float(value or "nan")
        except (ValueError, IndexError):
            fits = False
        if not fits:
            raise TrainingError(_damaged(path, f"line {number} is wrong"))
        before = step
    return LogTable(tuple(header), tuple(tuple(row) for row in rows))


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: is no log of a run, or damaged ({reason}); rename or remove it"


class TrainingLog:
    """Receives a run's figures and writes them wherever they are wanted.

    A context manager: files are opened on entering and closed on leaving, whatever happens.

    Parameters
    ----------
    folder
        The run's folder, which exists; gets ``log.csv`` and ``tensorboard``.
    step
        Steps that are done: 0, or those of the checkpoint that is resumed.
    wandb
        Report to Weights & Biases too; ``WANDB_MODE=offline`` keeps that on the disk.
    active
        False writes nothing, for processes that are not the first.

    Raises
    ------
    TrainingError
        A file cannot be written, ``log.csv`` is no log of a run, ``wandb`` is not installed or
        refuses.
    """

    def __init__(
        self, folder: Path, step: int, *, wandb: bool = False, active: bool = True
    ) -> None:
        self.folder, self.step, self.wandb, self.active = folder, step, wandb, active
        self._columns: tuple[str, ...] = ()
        self._seconds = 0.0
        self._open = contextlib.ExitStack()
        self._file: io.TextIOWrapper | None = None
        self._board: Any = None
        self._online: Any = None

    @property
    def path(self) -> Path:
        """The CSV file."""
        return self.folder / "log.csv"

    def __enter__(self) -> Self:
        if self.active:
            try:
                # First what may be missing: nothing is changed then.
                self._online = self._start_wandb() if self.wandb else None
                self._drop_later_rows()
                self._file = self.path.open("a", encoding="utf-8", newline="")
                self._open.enter_context(self._file)
                self._board = self._start_tensorboard()
            except BaseException as error:
                self._close(failed=True)
                if isinstance(error, OSError):
                    raise self._unwritable(error) from error
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(failed=kind is not None)

    def write(
        self,
        step: int,
        seconds: float,
        losses: Mapping[str, float],
        learning_rate: float,
        validation: Mapping[str, float] | None = None,
    ) -> None:
        """Add a row, everywhere, at once.

        Parameters
        ----------
        step
            Steps that are done; more than at the row before.
        seconds
            Since the training began or was resumed. The file counts over all starts.
        losses
            The parts of the loss; the same names each time. The loss is their sum.
        learning_rate
            Of the last step.
        validation
            Figures on held-out pictures, of which the file keeps ``pq``; None if not measured.

        Raises
        ------
        TrainingError
            The file cannot be written, or has other columns.
        """
        if self._file is None:
            return
        columns = (*FIRST_COLUMNS, *losses)
        if self._columns not in ((), columns):
            raise TrainingError(
                f"{self.path}: has other columns than this run; rename or remove it"
            )
        validation = validation or {}
        total = sum(losses.values())
        quality = f"{validation['pq']:.6g}" if "pq" in validation else ""
        row = [
            str(step),
            f"{self._seconds + seconds:.1f}",
            f"{learning_rate:.6g}",
            quality,
            *(f"{value:.6g}" for value in (total, *losses.values())),
        ]
        lines = [row] if self._columns else [list(columns), row]
        try:
            # One write, so that a kill leaves whole rows.
            self._file.write("".join(",".join(line) + "\n" for line in lines))
            self._file.flush()
            self._columns = columns
            figures = {"learning_rate": learning_rate, "loss/total": total}
            figures |= {f"loss/{name}": value for name, value in losses.items()}
            figures |= {f"validation/{name}": value for name, value in validation.items()}
            if self._board is not None:
                for name, value in figures.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        if self._online is not None:
            # Steps that are done again are refused there, and would only say the same.
            self._online.log(figures, step=step)

    def _drop_later_rows(self) -> None:
        """Bring ``log.csv`` back to the step that the run continues from."""
        if not self.path.exists():
            return
        table = read_log(self.path)
        kept = [row for row in table.rows if int(row[0]) <= self.step]
        if not kept:
            self.path.unlink()
            return
        self._columns, self._seconds = table.columns, float(kept[-1][1])
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write("".join(",".join(line) + "\n" for line in (table.columns, *kept)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def _start_tensorboard(self) -> Any:
        try:
            board = importlib.import_module("torch.utils.tensorboard")
        except ImportError:
            logger.warning("no TensorBoard files are written: pip install tensorboard")
            return None
        # Purging hides the steps that are done again.
        return self._open.enter_context(
            contextlib.closing(
                board.SummaryWriter(str(self.folder / TENSORBOARD), purge_step=self.step + 1)
            )
        )

    def _start_wandb(self) -> Any:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise TrainingError("--wandb needs a package more: pip install wandb") from error
        name = self.folder.resolve().name
        # A run that is continued is continued there too.
        file = self.folder / "wandb-id.txt"
        identity = file.read_text("utf-8").strip() if self.step and file.exists() else ""
        if not identity:
            identity = uuid.uuid4().hex[:8]
            file.write_text(identity + "\n", "utf-8")
        try:
            return wandb.init(
                project="nuhtc", name=name, id=identity, dir=str(self.folder), resume="allow"
            )
        except Exception as error:  # wandb raises many kinds: no login, no network, no server
            reason = first_line(error)
            raise TrainingError(
                f"--wandb: no connection ({reason}); run `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def _close(self, *, failed: bool) -> None:
        self._file = self._board = None
        try:
            self._open.close()
        finally:
            if self._online is not None:
                self._online.finish(exit_code=int(failed))
                self._online = None

    def _unwritable(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{self.folder}: the log cannot be written ({error.strerror or error}); "
            "make room or choose another --out"
        )
