"""The training loop: steps, averages, checkpoints.

Step ``n`` depends on the seed, on ``n``, on the number of processes and on the weights
alone, so a run that was killed continues from its last checkpoint as if nothing had
happened.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from nuhtc.runtime.ground.errors import CheckpointError, TrainingError
from nuhtc.runtime.ground.whole_files import prepare_folder
from nuhtc.training.augmentation.random_tiles import RandomTiles, TileTargets, batches
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.data.images import Part, Pictures
from nuhtc.training.data.selection import TrainingData
from nuhtc.training.loop.average import Averaged
from nuhtc.training.loop.curves import plot_curves
from nuhtc.training.loop.logs import TrainingLog
from nuhtc.training.loop.processes import Processes
from nuhtc.training.loop.recipe import Recipe, parameter_groups, rate_at, set_training
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset
from nuhtc.training.network.torch_graphs import torch_engine
from nuhtc.training.objective.objective import Objective, ObjectiveSettings
from nuhtc.training.predictions.validation import ImageResult, summarise, validate

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}
"""What convolutions and matrix products are worked out in."""


@dataclass(frozen=True)
class LoopSettings:
    """What a run does besides its recipe."""

    steps: int = 4000
    """Batches to train."""
    seed: int = 0
    workers: int = 1
    """Processes that prepare tiles, for each training process."""
    validate_every: int = 1000
    save_every: int = 200
    precision: str = "float32"
    """One of AUTOCAST; weights, losses and averages are float32 always."""
    wandb: bool = False


class Run:
    """One training run in its folder.

    Parameters
    ----------
    preset, info
        What is trained.
    network
        With the weights to start from; its scale becomes that of the recipe's tiles.
    objective, recipe, settings
        Towards what, and how.
    data
        On what.
    folder
        Where ``last.pt``, ``model.pt``, ``log.csv`` and ``curves.png`` go; a ``last.pt`` there
        is resumed.
    device
        ``cpu`` or ``cuda``.
    processes
        The processes that train together.
    progress
        Show bars.
    """

    def __init__(
        self,
        preset: Preset,
        info: CheckpointInfo,
        network: NuHTC,
        objective: ObjectiveSettings,
        recipe: Recipe,
        settings: LoopSettings,
        data: TrainingData,
        folder: Path,
        device: torch.device,
        processes: Processes = Processes(),  # noqa: B008 - a frozen value
        *,
        progress: bool = False,
    ) -> None:
        if recipe.batch % processes.count:
            raise TrainingError(
                f"a batch of {recipe.batch} tiles cannot be shared by {processes.count} "
                "processes; give a --batch that is a multiple"
            )
        self.preset, self.info, self.recipe, self.settings = preset, info, recipe, settings
        self.data, self.folder, self.device, self.processes = data, folder, device, processes
        scaled = preset.at_network_scale(recipe.tile)
        network.settings = scaled.network
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = Objective(self.network, objective).to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, recipe), lr=recipe.learning_rate
        )
        self.average = Averaged(self.network, recipe.ema)
        self.progress = progress and processes.first
        self.tiles = RandomTiles(
            list(data.train.values()),
            [data.weights[name] for name in data.train],
            scaled.tile,
            scaled.mpp,
            settings.seed,
            recipe.tile_augment,
            network.classes if recipe.class_aware else None,
            progress=self.progress,
        )
        self.step = 0
        self.best = -1.0
        self._resume()

    @property
    def last(self) -> Path:
        """The file a killed run continues from."""
        return self.folder / "last.pt"

    def _resume(self) -> None:
        if not self.last.exists():
            return
        info, content = checkpoint.read(self.last)
        if (info.preset, info.classes) != (self.info.preset, self.info.classes):
            raise TrainingError(
                f"{self.last}: belongs to a run with another preset or other classes; "
                "give another --out, or remove it"
            )
        checkpoint.load_weights(self.network, content["state_dict"], self.last)
        if not {"average", "optimizer", "seesaw", "step", "best"} <= set(content):
            raise CheckpointError(
                f"{self.last}: holds weights only, no state of a run; remove it or rename it"
            )
        self.average.weights = {k: v.to(self.device) for k, v in content["average"].items()}
        self.optimizer.load_state_dict(content["optimizer"])
        self.objective.seesaw.load_state_dict(content["seesaw"])
        self.step, self.best = content["step"], content["best"]

    def _save_last(self) -> None:
        if not self.processes.first:
            return
        checkpoint.save(
            self.last,
            replace(self.info, steps=self.step),
            self.network.state_dict(),
            average=self.average.weights,
            optimizer=self.optimizer.state_dict(),
            seesaw=self.objective.seesaw.state_dict(),
            step=self.step,
            best=self.best,
        )

    def train(self) -> None:
        """Train to the last step, then measure on every held-out picture."""
        settings = self.settings
        prepare_folder(self.folder)
        stream = batches(
            self.tiles, self.recipe.batch, self.step, settings.steps, settings.workers,
            self.processes.share,
        )  # fmt: skip
        started = time.perf_counter()
        sums: dict[str, float] = {}
        counted = 0
        with (
            TrainingLog(
                self.folder, self.step, wandb=settings.wandb, active=self.processes.first
            ) as log,
            tqdm(
                total=settings.steps, initial=self.step, unit="step", disable=not self.progress
            ) as bar,
        ):
            for batch in stream:
                losses = self._one_step(batch)
                counted += 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.update()
                if self.step % 20 == 0:
                    bar.set_postfix(loss=f"{sum(losses.values()):.3f}")
                last = self.step == settings.steps
                due = self.step % settings.validate_every == 0 or last
                quality = self._validate() if due else None
                if self.step % settings.save_every == 0 or due:
                    # The log first: a run that is killed in between drops the row again.
                    means = {name: value / counted for name, value in sums.items()}
                    rate = rate_at(self.step - 1, settings.steps, self.recipe)
                    log.write(self.step, time.perf_counter() - started, means, rate, quality)
                    self._save_last()
                    sums, counted = {}, 0
                if due and self.processes.first:
                    plot_curves(
                        self.folder / "log.csv", self.folder / "curves.png", self.preset.name
                    )
        self._finish()

    def _one_step(self, batch: Sequence[TileTargets]) -> dict[str, float]:
        settings, recipe = self.settings, self.recipe
        set_training(self.network, self.step, recipe)
        self.objective.seesaw.train()
        seed = (settings.seed * 1_000_003 + self.step) * 1_009 + self.processes.rank
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # of dropout and its like
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, settings.steps, recipe)
        kind = AUTOCAST[settings.precision]
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            losses: dict[str, Tensor] = self.objective(batch, generator)
        total = torch.stack(list(losses.values())).sum()
        values = self._values(losses)
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.network)
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self.processes.average_buffers(self.network, self.objective.seesaw)
        self.step += 1
        self.average.update(self.network, self.step)
        return values

    def _values(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Return the losses as numbers, over all processes; they must be finite."""
        numbers = torch.stack([value.detach().float() for value in losses.values()])
        self.processes.average([numbers])
        values = dict(zip(losses, numbers.tolist(), strict=True))
        wrong = ", ".join(name for name, value in values.items() if not math.isfinite(value))
        if wrong:
            kept = f"; {self.last} holds the last good state" if self.last.exists() else ""
            raise TrainingError(
                f"the loss is not finite at step {self.step} ({wrong}){kept}: "
                "lower --learning-rate and start again with the same --out"
            )
        return values

    def _averaged_network(self) -> NuHTC:
        network = self.preset.build(self.network.classes).to(self.device)
        network.load_state_dict(self.average.weights)
        return network.eval()

    def _measure(self, network: NuHTC, images: Pictures) -> dict[str, float]:
        """Return figures over held-out pictures, which the processes share out."""
        share = self.processes.share(range(len(images)))
        results: list[ImageResult] = validate(
            torch_engine(network, self.preset, self.info.classes),
            Part(images, share),
            self.preset.tile,
            self.preset.detection.mask_threshold,
            mpp=self.preset.mpp,
            progress=self.progress,
        )
        return summarise(self.processes.gather(results))

    def _validate(self) -> dict[str, float] | None:
        """Return figures of the averaged weights on the first data set's held-out pictures."""
        name, images = next(iter(self.data.validation.items()))
        if len(images) == 0:
            return None
        summary = self._measure(self._averaged_network(), images)
        if summary["pq"] > self.best:
            self.best = summary["pq"]
            self._save_model(((name, tuple(summary.items())),))
        return summary

    def _save_model(
        self, metrics: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    ) -> None:
        if self.processes.first:
            checkpoint.save(
                self.folder / "model.pt",
                replace(self.info, steps=self.step, metrics=metrics),
                self.average.weights,
            )

    def _finish(self) -> None:
        """Measure the best average on the held-out pictures of every data set."""
        model = self.folder / "model.pt"
        if self.best < 0:
            self._save_model()
            return
        self.processes.wait()
        network, _, info = checkpoint.load_network(model)
        network.to(self.device)
        metrics = tuple(
            (name, tuple(self._measure(network, images).items()))
            for name, images in self.data.validation.items()
            if len(images)
        )
        self.processes.wait()
        if self.processes.first:
            checkpoint.save(model, replace(info, metrics=metrics), network.state_dict())
