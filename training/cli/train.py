"""``nuhtc-train``: train a preset on data sets of annotated pictures."""

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from nuhtc.runtime.bundle.card import DataSource
from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.terminal import complain, say
from nuhtc.runtime.ground.errors import EXIT_DONE
from nuhtc.runtime.ground.lock import sole_writer
from nuhtc.runtime.ground.whole_files import prepare_folder
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.imagenet import load_imagenet
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.checkpoints.initial import initialise
from nuhtc.training.checkpoints.open import CheckpointFile, read_checkpoint
from nuhtc.training.data.selection import Selection, select
from nuhtc.training.loop.loop import AUTOCAST, LoopSettings, Run
from nuhtc.training.loop.processes import Processes, own_device, processes
from nuhtc.training.loop.recipe import AUGMENTS, LESSONS, SCHEDULES, Recipe
from nuhtc.training.network.nuhtc import PARTS, NuHTC
from nuhtc.training.network.presets import PRESETS, Preset

PROG = "nuhtc-train"

DEFAULTS = LoopSettings()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog=PROG,
        description="Train a network on annotated pictures: PanNuke, CoNSeP, CoNIC, COCO "
        "instance files, or folders of images/*.png with labels/*.npz. A run that was stopped "
        "continues from --out. Several GPUs: torchrun --nproc-per-node=4 -m "
        "nuhtc.training.cli, then the same options.",
    )
    data = result.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="data sets; validation PQ is followed on the first",
    )
    data.add_argument(
        "--untyped-data",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="data sets of which only the outlines are used",
    )
    data.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="data sets to measure on; default: some pictures of each data set are held out",
    )
    data.add_argument("--workers", type=int, default=DEFAULTS.workers, help="processes for tiles")

    what = result.add_argument_group("what is trained, from where")
    what.add_argument("--preset", choices=sorted(PRESETS), default="lite0")
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    start = what.add_mutually_exclusive_group()
    start.add_argument(
        "--init-from",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="start from the weights of a model.pt or of a published .pth; of several, the mean",
    )
    start.add_argument(
        "--no-imagenet",
        action="store_true",
        help="start from random weights (and so freeze nothing)",
    )

    what.add_argument(
        "--fresh",
        nargs="+",
        choices=PARTS,
        default=(),
        metavar="PART",
        help=f"parts that --init-from leaves as they are made, of {', '.join(PARTS)}",
    )
    what.add_argument(
        "--freeze",
        nargs="+",
        choices=PARTS,
        default=(),
        metavar="PART",
        help="parts that do not learn",
    )

    how = result.add_argument_group("how; the preset's recipe where nothing is given")
    length = how.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="batches to train")
    length.add_argument("--epochs", type=int, help="the same in rounds through the data")
    how.add_argument("--batch", type=int, help="tiles of a step, over all GPUs")
    how.add_argument(
        "--tile",
        type=int,
        metavar="PX",
        help="side of the tiles at the network's own scale, a multiple of 32",
    )
    how.add_argument("--learning-rate", type=float)
    how.add_argument("--warmup", type=int, metavar="STEPS")
    how.add_argument(
        "--schedule",
        choices=sorted(SCHEDULES),
        help="how the rate falls: along a cosine, or tenfold at 15%% and at 80%% as published",
    )
    how.add_argument(
        "--augment",
        choices=sorted(AUGMENTS),
        help="how tiles are varied: stains, scale and rotation, or as published",
    )
    how.add_argument("--ema-decay", type=float, help="of the average of the weights")
    how.add_argument("--seed", type=int, default=DEFAULTS.seed)
    how.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    how.add_argument(
        "--precision",
        choices=sorted(AUTOCAST),
        help="of matrix products (default: bfloat16 on a GPU, else float32)",
    )

    watch = result.add_argument_group("watching it")
    watch.add_argument(
        "--validate-every", type=int, metavar="STEPS", help="default: ten times in a run"
    )
    watch.add_argument("--save-every", type=int, default=DEFAULTS.save_every, metavar="STEPS")
    watch.add_argument("--wandb", action="store_true", help="log to Weights & Biases too")
    result.add_argument("--version", action="version", version=f"nuhtc {version('nuhtc')}")
    return result


def _check(command: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse values that make no sense."""
    for name in ("steps", "epochs", "batch", "validate_every", "save_every"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            command.error(f"--{name.replace('_', '-')} must be 1 or more")
    if arguments.tile is not None and (arguments.tile < 64 or arguments.tile % 32):
        command.error("--tile must be a multiple of 32 and at least 64")
    for name in ("workers", "warmup"):
        value = getattr(arguments, name)
        if value is not None and value < 0:
            command.error(f"--{name} must be 0 or more")
    for name in ("learning_rate", "ema_decay"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < 1:
            command.error(f"--{name.replace('_', '-')} must be above 0 and below 1")
    if arguments.fresh and arguments.init_from is None:
        command.error("--fresh: only with --init-from; everything else starts afresh anyway")
    if set(arguments.freeze) == set(PARTS):
        command.error("--freeze: at least one part has to learn")
    if arguments.freeze and arguments.no_imagenet:
        command.error("--freeze: random weights that never learn are of no use")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        command.error("--device cuda: PyTorch sees no CUDA device here")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-train``; returns the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    _check(command, arguments)

    def work() -> int:
        device = own_device(arguments.device)
        with processes(device) as group:
            _train(arguments, device, group)
        return EXIT_DONE

    stopped = f"stopped; the same command continues from {arguments.out}"
    return run_command(PROG, work, stopped)


def make_recipe(usual: Recipe, arguments: argparse.Namespace) -> Recipe:
    """Return the preset's recipe with what the command line changes of it."""
    given = {
        field: getattr(arguments, name)
        for field, name in (
            ("batch", "batch"),
            ("tile", "tile"),
            ("learning_rate", "learning_rate"),
            ("warmup", "warmup"),
            ("ema", "ema_decay"),
        )
        if getattr(arguments, name) is not None
    }
    if arguments.schedule is not None:
        given["schedule"] = SCHEDULES[arguments.schedule]
    if arguments.augment is not None:
        given["augment"] = AUGMENTS[arguments.augment]
    if arguments.freeze:
        given["frozen"], given["frozen_steps"] = tuple(arguments.freeze), None
    if arguments.no_imagenet:
        # What was not learned before has to be learned now.
        given["frozen_steps"] = 0
    return replace(usual, **given)


def make_settings(
    recipe: Recipe, pictures: int, device: torch.device, arguments: argparse.Namespace
) -> LoopSettings:
    """Return the length and bookkeeping of the run."""
    epochs = arguments.epochs or (None if arguments.steps else recipe.epochs)
    if epochs is not None:
        steps = epochs * math.ceil(pictures / recipe.batch)
    else:
        steps = arguments.steps or recipe.steps or DEFAULTS.steps
    return LoopSettings(
        steps=steps,
        seed=arguments.seed,
        workers=arguments.workers,
        validate_every=arguments.validate_every or max(1, math.ceil(steps / 10)),
        save_every=arguments.save_every,
        precision=arguments.precision or ("bfloat16" if device.type == "cuda" else "float32"),
        wandb=arguments.wandb,
    )


def start_network(
    preset: Preset,
    classes: int,
    arguments: argparse.Namespace,
    starts: Sequence[CheckpointFile] = (),
) -> NuHTC:
    """Return the network with the weights that training starts from."""
    network = preset.build(classes)
    if (arguments.out / "last.pt").exists():
        return network  # the run goes on with its own weights
    if starts:
        fresh = initialise(network, starts, preset, arguments.fresh)
        if fresh:
            complain(
                PROG,
                f"{starts[0].path} has other classes; these start afresh: " + ", ".join(fresh),
            )
    elif not arguments.no_imagenet:
        load_imagenet(network.backbone)
    return network


def _train(arguments: argparse.Namespace, device: torch.device, group: Processes) -> None:
    torch.manual_seed(arguments.seed)
    preset = PRESETS[arguments.preset]
    chosen = select(arguments.data, arguments.untyped_data, arguments.validation)
    starts = [read_checkpoint(path) for path in arguments.init_from or ()]
    network = start_network(preset, len(chosen.classes), arguments, starts)
    lesson = LESSONS[preset.name]
    recipe = make_recipe(lesson.recipe, arguments)
    settings = make_settings(recipe, len(chosen.data), device, arguments)
    info = CheckpointInfo(preset.name, chosen.classes, _data(chosen, starts))
    # One process writes for all that train together, so that one keeps the others' runs out.
    with _own_folder(arguments.out) if group.first else nullcontext():
        run = Run(
            preset,
            info,
            network,
            lesson.objective,
            recipe,
            settings,
            chosen.data,
            arguments.out,
            device,
            group,
            progress=sys.stderr.isatty(),
        )
        if group.first:
            _announce(run, chosen)
        run.train()
    if group.first:
        final, _ = checkpoint.read(arguments.out / "model.pt")
        say(f"{arguments.out / 'model.pt'}: step {final.steps}")
        for name, values in final.metrics:
            say(f"  {name}: " + ", ".join(f"{key} {value:g}" for key, value in values))


def _own_folder(folder: Path) -> AbstractContextManager[None]:
    """Make the run's folder and keep every other run out of it."""
    prepare_folder(folder)
    return sole_writer(folder / ".lock", "another nuhtc-train is writing")


def _data(chosen: Selection, starts: Sequence[CheckpointFile]) -> tuple[DataSource, ...]:
    """Return all data that have a part in the weights, those of the start weights too."""
    before = (source for start in starts for source in start.data)
    return tuple(dict.fromkeys((*chosen.infos, *before)))


def _announce(run: Run, chosen: Selection) -> None:
    """Say what is about to happen."""
    settings = run.settings
    several = f", {run.processes.count} processes" if run.processes.count > 1 else ""
    print(
        f"{run.preset.name} on {run.device} ({settings.precision}{several}), "
        f"classes {', '.join(item.name for item in chosen.classes)}, "
        f"step {run.step} of {settings.steps}, {run.recipe.batch} tiles each\n{chosen.table()}",
        file=sys.stderr,
    )
    for name, sampler in zip(chosen.data.train, run.tiles.samplers, strict=True):
        for label in () if sampler is None or not sampler.classes else sampler.left_out:
            complain(
                PROG,
                f"{name} has no {chosen.classes[label].name} nucleus; "
                "the class is left out of its draw",
            )
