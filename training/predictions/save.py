"""Save predictions in the layouts of PanNuke and CoNSeP, for other tools and for later."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy.io import savemat

from nuhtc.runtime.ground.errors import DataError
from nuhtc.runtime.ground.whole_files import prepare_folder, whole_file
from nuhtc.training.measures.hovernet_protocol import centroids
from nuhtc.training.predictions.prediction import Prediction
from nuhtc.training.predictions.saved import ABOUT, FORMAT

LAYOUTS = ("pannuke", "consep")
"""Each is a folder of its own in ``--out``."""

SIDE, CHANNELS = 256, 5
"""Of PanNuke's pictures, and its classes."""

Save = Callable[[int, Prediction], None]
"""Takes a picture's place in the order of names, and what was found in it."""


@contextlib.contextmanager
def saving(
    layout: str, folder: Path, names: Sequence[str], classes: Sequence[str] | None
) -> Iterator[Save]:
    """Give a function that saves one prediction; what it wrote is complete after the block.

    Parameters
    ----------
    layout
        Of LAYOUTS.
    folder
        The layout's folder is made in it.
    names
        Of all pictures, in order.
    classes
        What the predictions' types index; None where they have none.

    Raises
    ------
    DataError
        The layout cannot hold such pictures or classes.
    OutputError
        A file cannot be written.
    """
    target = folder / layout
    prepare_folder(target)
    if layout == "consep":
        yield lambda place, prediction: _save_mat(target, names[place], prediction)
    else:
        if classes is None or len(classes) > CHANNELS:
            raise DataError(
                f"{target}: PanNuke's layout holds nuclei of 1 to {CHANNELS} classes, these have "
                f"{len(classes or ())}; use --save consep"
            )
        shape = (len(names), SIDE, SIDE, CHANNELS + 1)
        with whole_file(target / "predictions.npy") as partial:
            stack = open_memmap(partial, mode="w+", dtype=np.int32, shape=shape)
            yield lambda place, prediction: _fill(stack[place], names[place], prediction)
            stack.flush()
    about = {
        "format": FORMAT,
        "names": list(names),
        "classes": None if classes is None else list(classes),
    }
    with whole_file(target / ABOUT) as partial:
        partial.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_mat(folder: Path, name: str, prediction: Prediction) -> None:
    """Save one picture as HoVer-Net's tools write it; scores are an array of our own."""
    if Path(name).name != name:
        raise DataError(f"{folder}: the picture's name {name!r} cannot be a file's name")
    count = len(prediction)
    content: dict[str, NDArray[np.generic]] = {
        "inst_map": prediction.instances,
        "inst_uid": np.arange(1, count + 1, dtype=np.int32)[:, None],
        "inst_centroid": centroids(prediction.instances, count),
    }
    if prediction.types is not None:
        content["inst_type"] = (prediction.types[1:, None] + 1).astype(np.int32)
    if prediction.scores is not None:
        content["inst_score"] = prediction.scores[1:, None]
    with whole_file(folder / f"{name}.mat") as partial:
        savemat(str(partial), content, appendmat=False, do_compression=True)


def _fill(channels: NDArray[np.int32], name: str, prediction: Prediction) -> None:
    """Fill one picture's PanNuke channels: nuclei by class, and 1 where there is background."""
    if prediction.instances.shape != (SIDE, SIDE) or prediction.types is None:
        height, width = prediction.instances.shape
        raise DataError(
            f"{name}: PanNuke's layout holds pictures of {SIDE}x{SIDE} pixels, this has "
            f"{width}x{height}; use --save consep"
        )
    types = prediction.types[prediction.instances]
    for index in range(CHANNELS):
        channels[..., index] = np.where(types == index, prediction.instances, 0)
    channels[..., CHANNELS] = ~channels[..., :CHANNELS].any(axis=2)
