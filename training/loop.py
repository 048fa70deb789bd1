"""The training loop: steps, averages, checkpoints.

Step ``n`` depends on the seed, on ``n`` and on the weights alone, so a run that was
killed continues from its last checkpoint as if nothing had happened.
"""

import csv
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from nuhtc.training import checkpoint
from nuhtc.training.augment import AugmentSettings
from nuhtc.training.checkpoint import CheckpointInfo
from nuhtc.training.datasets import AnnotatedImage
from nuhtc.training.errors import CheckpointError, TrainingError
from nuhtc.training.network import NuHTC
from nuhtc.training.objective import Objective
from nuhtc.training.presets import Preset
from nuhtc.training.tiles import RandomTiles, batches
from nuhtc.training.validation import summarise, validate


@dataclass(frozen=True)
class TrainSettings:
    """Length, step size and bookkeeping of a run."""

    steps: int = 4000
    batch: int = 8
    learning_rate: float = 6e-4
    final_rate: float = 0.02
    """The rate ends at this share of its peak, along a cosine."""
    warmup: int = 200
    weight_decay: float = 0.05
    clip: float = 10.0
    """Bound on the gradient's length."""
    ema: float = 0.998
    """Decay of the moving average of the weights."""
    seed: int = 0
    workers: int = 1
    validate_every: int = 1000
    save_every: int = 200


@dataclass(frozen=True)
class TrainingData:
    """Pictures to learn from and pictures held out, by data set."""

    train: dict[str, list[AnnotatedImage]]
    validation: dict[str, list[AnnotatedImage]]
    weights: dict[str, float]
    """How often each data set is drawn from."""


class Averaged:
    """Exponential moving average of a network's weights and buffers."""

    def __init__(self, network: NuHTC, decay: float) -> None:
        self.decay = decay
        self.weights = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: NuHTC, step: int) -> None:
        """Move towards the network; early steps move further."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


def rate_at(step: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    low = settings.final_rate
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def parameter_groups(network: NuHTC, weight_decay: float) -> list[dict[str, object]]:
    """Weights with decay; biases and norms without."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class Run:
    """One training run in its folder.

    Parameters
    ----------
    preset, info
        What is trained.
    network
        With the weights to start from.
    settings, augment
        How.
    data
        On what.
    folder
        Where ``last.pt``, ``model.pt`` and ``log.csv`` go; a ``last.pt`` there is resumed.
    device
        ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        preset: Preset,
        info: CheckpointInfo,
        network: NuHTC,
        settings: TrainSettings,
        augment: AugmentSettings,
        data: TrainingData,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.preset, self.info, self.settings = preset, info, settings
        self.data, self.folder, self.device = data, folder, device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = Objective(self.network, preset.objective).to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, settings.weight_decay), lr=settings.learning_rate
        )
        self.average = Averaged(self.network, settings.ema)
        self.tiles = RandomTiles(
            list(data.train.values()),
            [data.weights[name] for name in data.train],
            preset.tile,
            settings.seed,
            augment,
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

    def train(self, *, progress: bool) -> None:
        """Train to the last step, then measure on every held-out picture."""
        settings = self.settings
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another --out"
            ) from error
        stream = batches(self.tiles, settings.batch, self.step, settings.steps, settings.workers)
        bar = tqdm(total=settings.steps, initial=self.step, unit="step", disable=not progress)
        started = time.perf_counter()
        sums: dict[str, float] = {}
        counted = 0
        for batch in stream:
            losses = self._one_step(batch)
            counted += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            bar.update()
            if self.step % 20 == 0:
                bar.set_postfix(loss=f"{sum(losses.values()):.3f}")
            due = self.step % settings.validate_every == 0 and self.step < settings.steps
            quality = self._validate(progress) if due else None
            if self.step % settings.save_every == 0 or due:
                self._save_last()
                means = {name: value / counted for name, value in sums.items()}
                self._log(means, quality, time.perf_counter() - started)
                sums, counted = {}, 0
        bar.close()
        self._save_last()
        self._finish(progress)

    def _one_step(self, batch: Sequence[object]) -> dict[str, float]:
        settings = self.settings
        self.objective.train()
        seed = settings.seed * 1_000_003 + self.step
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # of dropout and its like
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_at(self.step, settings)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            losses: dict[str, Tensor] = self.objective(batch, generator)
        total = torch.stack(list(losses.values())).sum()
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(sum(values.values())):
            wrong = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            kept = f"; {self.last} holds the last good state" if self.last.exists() else ""
            raise TrainingError(
                f"the loss is not finite at step {self.step} ({wrong}){kept}: "
                "lower --learning-rate and start again with the same --out"
            )
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.network, self.step)
        return values

    def _averaged_network(self) -> NuHTC:
        network = self.preset.build(self.network.classes).to(self.device)
        network.load_state_dict(self.average.weights)
        return network.eval()

    def _validate(self, progress: bool) -> float | None:
        """PQ of the averaged weights on the first data set's held-out pictures."""
        name, images = next(iter(self.data.validation.items()), ("", []))
        if not images:
            return None
        results = validate(
            self._averaged_network(),
            images,
            self.preset.tile,
            self.preset.inference,
            progress=progress,
        )
        summary = summarise(results)
        if summary["pq"] > self.best:
            self.best = summary["pq"]
            metrics = ((name, tuple(summary.items())),)
            checkpoint.save(
                self.folder / "model.pt",
                replace(self.info, steps=self.step, metrics=metrics),
                self.average.weights,
            )
        return summary["pq"]

    def _finish(self, progress: bool) -> None:
        """Keep the better of the last and the best average, with the figures of every data set."""
        quality = self._validate(progress)
        model = self.folder / "model.pt"
        if quality is None or not model.exists():
            checkpoint.save(model, replace(self.info, steps=self.step), self.average.weights)
        if quality is None:
            return
        network, preset, info = checkpoint.load_network(model)
        network.to(self.device)
        metrics = tuple(
            (
                name,
                tuple(
                    summarise(
                        validate(network, images, preset.tile, preset.inference, progress=progress)
                    ).items()
                ),
            )
            for name, images in self.data.validation.items()
            if images
        )
        checkpoint.save(model, replace(info, metrics=metrics), network.state_dict())

    def _log(self, means: dict[str, float], quality: float | None, seconds: float) -> None:
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "seconds", "validation_pq", "loss", *means])
            total = sum(means.values())
            writer.writerow(
                [
                    self.step,
                    f"{seconds:.1f}",
                    "" if quality is None else quality,
                    f"{total:.4f}",
                    *(f"{value:.4f}" for value in means.values()),
                ]
            )
