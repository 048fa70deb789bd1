"""``nuhtc-eval``: hold a model, or what any tool has saved, against annotated pictures."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from nuhtc.runtime.console.command import run_command
from nuhtc.runtime.console.options import checked, names_of
from nuhtc.runtime.console.terminal import say
from nuhtc.runtime.engines.names import ENGINES, FLIPS, PRECISIONS
from nuhtc.runtime.ground.errors import EXIT_DONE, DataError
from nuhtc.runtime.ground.whole_files import prepare_folder
from nuhtc.training.data.classes import parse_classes
from nuhtc.training.data.images import AnnotatedImage, AnnotatedSet
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split
from nuhtc.training.evaluation.evaluate import Evaluation, Task, evaluate
from nuhtc.training.evaluation.report import as_json, as_text, write_report
from nuhtc.training.evaluation.summary import summarise_all
from nuhtc.training.predictions.model import Model, open_model, predict
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.save import LAYOUTS, saving
from nuhtc.training.predictions.saved import Saved, open_saved


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="nuhtc-eval",
        description="Measure a model, or saved predictions of any tool, on annotated pictures: "
        "Dice, AJI, AJI+, DQ, SQ, PQ; bPQ and mPQ (PanNuke); detection and class F1 (CoNSeP); "
        "COCO AP; a confusion matrix.",
    )
    result.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="BUNDLE_OR_CHECKPOINT",
        help="a folder from nuhtc-export, which goes through the runtime as a slide does, or a "
        "model.pt from nuhtc-train or a published .pth, which go through PyTorch",
    )
    result.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="PATH", help="annotated data sets"
    )
    result.add_argument(
        "--predictions",
        type=Path,
        metavar="PATH",
        help="instead of a model: a folder of .mat (CoNSeP) or .npz (inst_map, type_map) files "
        "named like the pictures, or a PanNuke .npy or an .npz in the pictures' order",
    )
    result.add_argument(
        "--split",
        choices=("validation", "train", "all"),
        default="validation",
        help="which pictures (default: those that nuhtc-train never trains on)",
    )
    result.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write summary.json, images.csv, classes.csv, tissues.csv, confusion.csv and "
        "evaluation.png; several data sets get a folder each",
    )
    result.add_argument(
        "--save",
        type=names_of(LAYOUTS),
        default=(),
        metavar="LAYOUTS",
        help="also write the predictions to --out: pannuke (.npy), consep (.mat), or both with "
        "a comma",
    )
    result.add_argument(
        "--classes",
        type=checked(parse_classes),
        metavar="NAMES",
        help="of a checkpoint that does not name them: Name,Name,... in the order of training",
    )
    result.add_argument("--json", action="store_true", help="print JSON instead of tables")
    result.add_argument("--tile", type=int, metavar="PX", help="side of a tile (default: model's)")
    result.add_argument(
        "--flips",
        type=int,
        choices=FLIPS,
        default=FLIPS[0],
        help="of a bundle: look at each tile so often, turned or mirrored, and take the mean "
        "(default: 1)",
    )
    result.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="of a bundle: what runs it (default: auto)",
    )
    result.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of a bundle: what it computes in (default: auto)",
    )
    result.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")
    result.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="of a checkpoint"
    )
    result.add_argument("--version", action="version", version=f"nuhtc {version('nuhtc')}")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nuhtc-eval``; returns the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    if (arguments.model is None) == (arguments.predictions is None):
        command.error("give either BUNDLE_OR_CHECKPOINT or --predictions")
    if arguments.predictions is not None and len(arguments.data) > 1:
        command.error("--predictions are of one data set; give one --data")
    if arguments.save and arguments.out is None:
        command.error("--save writes to --out; give it")
    if arguments.tile is not None and (arguments.tile < 96 or arguments.tile % 32):
        command.error("--tile must be a multiple of 32, 96 or more")
    if arguments.threads < 0:
        command.error("--threads must be 0 or more")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        command.error("--device cuda: PyTorch sees no CUDA device here")

    def work() -> int:
        results = list(_evaluate(arguments))
        if arguments.json:
            say(as_json({"results": [summarise_all(result) for result in results]}))
        else:
            say("\n\n".join(map(as_text, results)))
        return EXIT_DONE

    return run_command("nuhtc-eval", work, "stopped; what is in the output folder is whole")


def _evaluate(arguments: argparse.Namespace) -> Iterator[Evaluation]:
    """Measure one data set after the other and write its files."""
    if arguments.out is not None:
        prepare_folder(arguments.out)
    sets = [open_set(path) for path in arguments.data]
    names = [one.name for one in sets]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"--data names two data sets {name}; evaluate them one by one")
    model = None
    if arguments.model is not None:
        model = open_model(
            arguments.model,
            device=arguments.device,
            tile=arguments.tile,
            threads=arguments.threads,
            classes=arguments.classes,
            flips=arguments.flips,
            engine=arguments.engine,
            precision=arguments.precision,
        )
    for dataset in sets:
        indices = _pictures(dataset, arguments.split)
        source: Model | Saved = model or open_saved(arguments.predictions, dataset, indices)
        folder = arguments.out
        if folder is not None and len(sets) > 1:
            folder = folder / dataset.name
            prepare_folder(folder)
        task = Task(
            source=str(arguments.model or arguments.predictions),
            data=dataset.name,
            split=arguments.split,
            mpp=dataset.mpp,
            classes=_names(dataset),
            found_classes=source.classes,
        )
        yield _one_set(task, dataset, indices, source, folder, arguments.save)


def _pictures(dataset: AnnotatedSet, which: str) -> list[int]:
    """Return the numbers of the pictures to evaluate."""
    train, held_out = split(dataset)
    indices = {"train": train, "validation": held_out, "all": sorted(train + held_out)}[which]
    if not indices:
        raise DataError(
            f"{dataset.path}: none of its {len(dataset)} pictures is in the split {which}; "
            "choose another --split"
        )
    return indices


def _names(dataset: AnnotatedSet) -> tuple[str, ...] | None:
    return None if dataset.classes is None else tuple(one.name for one in dataset.classes)


def _one_set(
    task: Task,
    dataset: AnnotatedSet,
    indices: Sequence[int],
    source: Model | Saved,
    folder: Path | None,
    layouts: Sequence[str],
) -> Evaluation:
    """Predict, save and measure picture by picture; then write the report."""
    names = [dataset.names()[index] for index in indices]
    with ExitStack() as stack:
        savers = [
            stack.enter_context(saving(layout, folder, names, source.classes))
            for layout in layouts
            if folder is not None
        ]

        def pairs() -> Iterator[tuple[AnnotatedImage, Prediction]]:
            quiet = not sys.stderr.isatty()
            bar = tqdm(indices, dataset.name, unit="image", disable=quiet, leave=False)
            for place, index in enumerate(bar):
                image = dataset[index]
                if isinstance(source, Saved):
                    prediction = source.read(index)
                else:
                    prediction = predict(source, image)
                for save in savers:
                    save(place, prediction)
                yield image, prediction

        result = evaluate(task, pairs())
    if folder is not None:
        write_report(folder, result)
    return result
