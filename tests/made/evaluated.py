"""Pictures with truth and predictions, for whatever evaluates and reports."""

from pathlib import Path

import numpy as np
from made.blobs import random_ellipses

from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import majority_types, renumber
from nuhtc.training.evaluation.evaluate import Evaluation, Task, evaluate
from nuhtc.training.predictions.prediction import Prediction

NAMES = ("Other", "Inflammatory", "Epithelial", "Spindle")


def task(
    classes: tuple[str, ...] | None = NAMES,
    found_classes: tuple[str, ...] | None = NAMES,
    mpp: float = 0.25,
) -> Task:
    """Return the task of a data set that does not exist."""
    return Task("here", "made", "all", mpp, classes, found_classes)


def made_picture(
    seed: int, side: int = 96, classes: int = 4, tissue: str | None = None
) -> AnnotatedImage:
    """Return ellipses of drawn classes on white."""
    instances = random_ellipses(seed, side, side, side // 5, (8.0, 20.0))
    types = np.random.default_rng(seed).integers(0, classes, instances.max() + 1)
    rgb = np.full((side, side, 3), 255, np.uint8)
    return AnnotatedImage(f"made-{seed}", rgb, instances, types, tissue=tissue)


def made_prediction(image: AnnotatedImage, classes: int = 4, scored: bool = True) -> Prediction:
    """Return the truth moved by a pixel or two, some nuclei gone, some classes wrong."""
    rng = np.random.default_rng(len(image) + 7)
    gone = rng.random(len(image) + 1) < 0.2
    moved = np.roll(np.where(gone[image.instances], 0, image.instances), (1, 2), (0, 1))
    instances, numbers = renumber(moved.astype(np.int64))
    assert image.types is not None
    types = image.types[numbers].copy()
    wrong = rng.random(len(types)) < 0.3
    types[wrong] = rng.integers(0, classes, np.count_nonzero(wrong))
    scores = rng.permutation(len(types)).astype(np.float32) / len(types)
    return Prediction(instances, types, scores if scored else None)


def perfect(image: AnnotatedImage) -> Prediction:
    """Return the truth."""
    scores = np.linspace(0.5, 1, len(image) + 1, dtype=np.float32)
    return Prediction(image.instances, image.types, scores)


def evaluated_golden(path: Path) -> Evaluation:
    """Return the evaluation of the published protocol's pictures, with a fifth, empty class."""
    names = (*NAMES, "Empty")
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive}
    pairs = []
    for i, tissue in enumerate(arrays["tissue"].tolist()):
        maps = {}
        for side in ("true", "pred"):
            instances, _ = renumber(arrays[f"{side}_inst"][i].astype(np.int64))
            types = arrays[f"{side}_type"][i].astype(np.int64)
            maps[side] = instances, majority_types(instances, types, 5, side)
        rgb = np.full((*maps["true"][0].shape, 3), 255, np.uint8)
        pairs.append(
            (AnnotatedImage(str(i), rgb, *maps["true"], tissue=tissue), Prediction(*maps["pred"]))
        )
    return evaluate(task(names, names), pairs)
