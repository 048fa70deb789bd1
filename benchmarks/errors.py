"""Where a bundle's errors are on held-out pictures: missed, merged, split, misnamed.

    python benchmarks/errors.py ../shared/data/consep/train ... [--bundle BUNDLE]
                                [--chart FILE] [--pictures FILE]

An annotated nucleus is *found* if one outline has an IoU above one half with it. Of the others,
it is *merged* if an outline that covers most of it also covers most of another; *split* if two or
more outlines lie mostly inside it; *badly outlined* if an outline shares a fifth of either; else it
is *missed*. An outline that matches nothing and is part of none of these is *invented*. `--chart`
draws how these depend on size and class. `--pictures` draws the tiles with most errors, annotation
beside answer; these show the data set's pictures, whose licences say what may be done with them.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.load import default_bundle
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.open import open_set
from nuhtc.training.data.splits import split
from nuhtc.training.measures.overlaps import overlaps
from nuhtc.training.predictions.bundle_model import open_bundle_model
from nuhtc.training.predictions.prediction import Prediction

FATES = ("found", "badly outlined", "merged", "split", "missed")
COLOURS = ("#3b6fb6", "#8fb3de", "#e0a63a", "#b07cc6", "#c8503c")
SIZES_UM2 = (0, 10, 20, 30, 45, 70, np.inf)
WINDOW = 200


@dataclass
class Errors:
    """What became of the annotated nuclei of a data set."""

    name: str
    fates: list[str] = field(default_factory=list)
    areas_um2: list[float] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    names: Counter[tuple[str, str]] = field(default_factory=Counter)
    """found nuclei by annotated and given class"""
    invented: int = 0


def fates(truth: NDArray[np.int32], found: NDArray[np.int32]) -> tuple[list[str], int]:
    """The fate of each annotated nucleus, in order of its number, and how many were invented."""
    pairs = overlaps(truth, found)
    count = len(pairs.truth_area) - 1
    of_truth = pairs.shared / pairs.truth_area[pairs.truth_ids]
    of_found = pairs.shared / pairs.found_area[pairs.found_ids]
    covers = np.bincount(pairs.found_ids[of_truth > 0.5], minlength=len(pairs.found_area))
    inside = np.bincount(pairs.truth_ids[of_found > 0.5], minlength=count + 1)
    fate = np.full(count + 1, "missed", object)
    fate[pairs.truth_ids[np.maximum(of_truth, of_found) > 0.2]] = "badly outlined"
    fate[inside >= 2] = "split"
    fate[pairs.truth_ids[(of_truth > 0.5) & (covers[pairs.found_ids] >= 2)]] = "merged"
    fate[pairs.truth_ids[pairs.ious > 0.5]] = "found"
    present = pairs.truth_area[1:] > 0
    explained = np.zeros(len(pairs.found_area), np.bool_)
    explained[pairs.found_ids[np.maximum(of_truth, of_found) > 0.2]] = True
    invented = int(np.count_nonzero((pairs.found_area > 0) & ~explained))
    return list(fate[1:][present]), invented


def add(errors: Errors, image: AnnotatedImage, answer: Prediction, names: tuple[str, ...]) -> None:
    """Count a picture."""
    fate, invented = fates(image.instances, answer.instances)
    areas = np.bincount(image.instances.ravel())[1:]
    errors.fates += fate
    errors.invented += invented
    errors.areas_um2 += list(areas[areas > 0] * image.mpp**2)
    if not names or image.types is None or answer.types is None:
        return
    kinds = [names[label] for label in image.types[1:][areas > 0]]
    errors.classes += kinds
    pairs = overlaps(image.instances, answer.instances)
    good = pairs.ious > 0.5
    for one, other in zip(pairs.truth_ids[good], pairs.found_ids[good], strict=True):
        errors.names[names[image.types[one]], names[answer.types[other]]] += 1


def table(errors: Errors) -> str:
    """Return the counts as text."""
    total = Counter(errors.fates)
    lines = [f"{errors.name}: {len(errors.fates)} annotated nuclei, {errors.invented} invented"]
    lines.append(
        "  " + ", ".join(f"{name} {total[name] / len(errors.fates):.1%}" for name in FATES)
    )
    for kind in sorted(set(errors.classes)):
        own = Counter(f for f, k in zip(errors.fates, errors.classes, strict=True) if k == kind)
        given = {b: n for (a, b), n in errors.names.items() if a == kind}
        called = sum(given.values())
        named = ", ".join(f"{b} {n / called:.0%}" for b, n in sorted(given.items()))
        share = own["found"] / sum(own.values())
        lines.append(f"  {kind:<14} {sum(own.values()):5}, found {share:.1%}, called {named}")
    return "\n".join(lines)


def stack(axes: Any, labels: list[str], groups: list[list[str]], title: str) -> None:
    """Draw the fates' shares of each group as one bar."""
    left = np.zeros(len(groups))
    for name, colour in zip(FATES, COLOURS, strict=True):
        share = np.array([group.count(name) / max(len(group), 1) for group in groups])
        axes.barh(labels, share, left=left, color=colour, label=name)
        left += share
    for row, group in enumerate(groups):
        axes.text(1.01, row, f"{len(group):,}", va="center", fontsize=8)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)


def draw(all_errors: list[Errors], path: Path) -> None:
    """Draw the fates by data set, by size and by class."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (sets, sizes, kinds) = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
    stack(sets, [one.name for one in all_errors], [one.fates for one in all_errors], "data set")
    areas = np.concatenate([one.areas_um2 for one in all_errors])
    every = [fate for one in all_errors for fate in one.fates]
    place = np.digitize(areas, SIZES_UM2) - 1
    bins = range(len(SIZES_UM2) - 1)
    labels = [f"{SIZES_UM2[i]:g}-{SIZES_UM2[i + 1]:g}" for i in bins]
    labels[-1] = f"over {SIZES_UM2[-2]:g}"
    groups = [[fate for fate, p in zip(every, place, strict=True) if p == i] for i in bins]
    stack(sizes, labels, groups, "area, um2")
    typed = [one for one in all_errors if one.classes]
    pairs = [pair for one in typed for pair in zip(one.classes, one.fates, strict=True)]
    names = sorted({kind for kind, _ in pairs})
    stack(kinds, names, [[f for k, f in pairs if k == name] for name in names], "class")
    handles, titles = sets.get_legend_handles_labels()
    figure.legend(handles, titles, ncols=len(FATES), loc="outside lower center", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def worst(image: AnnotatedImage, answer: Prediction) -> tuple[int, int, int]:
    """The number of lost nuclei, x and y of the window of a picture that holds most of them."""
    fate, _ = fates(image.instances, answer.instances)
    lost = [number + 1 for number, one in enumerate(fate) if one != "found"]
    mask = np.isin(image.instances, lost)
    best = (0, 0, 0)
    for y in range(0, max(image.instances.shape[0] - WINDOW, 0) + 1, WINDOW // 2):
        for x in range(0, max(image.instances.shape[1] - WINDOW, 0) + 1, WINDOW // 2):
            part = slice(y, y + WINDOW), slice(x, x + WINDOW)
            count = len(np.unique(image.instances[part][mask[part]]))
            best = max(best, (count, x, y))
    return best


def show(cases: list[tuple[int, int, int, AnnotatedImage, Prediction]], path: Path) -> None:
    """Draw the worst windows: annotated outlines on the left, answers on the right."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    chosen = sorted(cases, key=lambda case: -case[0])[:6]
    figure, rows = plt.subplots(2, len(chosen), figsize=(3 * len(chosen), 6.2), squeeze=False)
    for column, (count, x, y, image, answer) in enumerate(chosen):
        part = slice(y, y + WINDOW), slice(x, x + WINDOW)
        for axes, labels, colour in (
            (rows[0][column], image.instances, "#00b0ff"),
            (rows[1][column], answer.instances, "#ffd400"),
        ):
            axes.imshow(image.rgb[part])
            for number in np.unique(labels[part])[1:]:
                axes.contour(labels[part] == number, levels=[0.5], colors=colour, linewidths=0.8)
            axes.axis("off")
        rows[0][column].set_title(f"{image.name}: {count} lost", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Print what became of every annotated nucleus, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of annotated pictures")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--chart", type=Path, help="draw the shares here")
    parser.add_argument("--pictures", type=Path, help="draw the worst places here")
    arguments = parser.parse_args()
    model = open_bundle_model(arguments.bundle, None, arguments.threads)
    all_errors, cases = [], []
    for root in arguments.data:
        dataset = open_set(root)
        errors = Errors(dataset.name)
        own = () if dataset.classes is None else tuple(one.name for one in dataset.classes)
        for index in split(dataset)[1]:
            image = dataset[index]
            answer = model.find(image.rgb)
            add(errors, image, answer, own if own == model.classes else ())
            cases.append((*worst(image, answer), image, answer))
        all_errors.append(errors)
        print(table(errors))
    if arguments.chart:
        draw(all_errors, arguments.chart)
    if arguments.pictures:
        show(cases, arguments.pictures)


if __name__ == "__main__":
    main()
