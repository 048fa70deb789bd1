"""COCO instances: `<stem>.coco/instances.json` and, with scores, `<stem>.coco/results.json`.

Every tile that was run is an image, with its place on the slide as `slide_x` and `slide_y` in
level-0 pixels; a nucleus is annotated once, in the tile that owns it, in that image's pixels.
Instances hold polygons, results hold run-length encoded masks, as pycocotools wants them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from nuhtc.native.rle import rle_texts
from nuhtc.native.text import ring_texts, weave
from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.writers import columns
from nuhtc.runtime.writers.target import Files, Output, Target, made_folder

SUFFIX: Final = ".coco"

LOG = logging.getLogger(__name__)

_MOST_PIXELS: Final = 1 << 32
"""An image of more pixels overflows pycocotools' run lengths."""


@contextmanager
def open_coco(target: Target) -> Iterator[Output]:
    """Write the folder `<stem>.coco`.

    Parameters
    ----------
    target
        Where and of what.

    Yields
    ------
    Output
        Takes the nuclei.

    Raises
    ------
    OutputError
        When a file cannot be written, or an image is too large for run-length encoding.
    """
    folder = target.path(SUFFIX)
    if len(target.tile_boxes) and np.prod(target.tile_boxes[:, 2:], axis=1).max() >= _MOST_PIXELS:
        raise OutputError(
            f"{folder}: not written: COCO masks hold fewer than 2**32 pixels, and this slide has "
            "no tiles; choose another format"
        )
    with Files() as files:
        files.enter_context(made_folder(folder, files))
        opened = [
            files.enter_context(files.partial(folder / name).open("wb"))
            for name in ("instances.json", "results.json")
        ]
        documents = _Documents(target, folder, *opened)
        yield Output(documents.write, files.paths)
        documents.finish()


def image_name(box: NDArray[np.int64]) -> str:
    """Return the file name of a tile's picture, from its x and y."""
    return f"images/x{box[0]}_y{box[1]}.png"


class _Documents:
    """The two files, a line per nucleus in each."""

    def __init__(
        self, target: Target, folder: Path, instances: IO[bytes], results: IO[bytes]
    ) -> None:
        self._target, self._folder = target, folder
        self._instances, self._results = instances, results
        self._count = 0
        self._results.write(b"[")
        self._instances.write(_head(target))

    def write(self, nuclei: Nuclei) -> None:
        count = len(nuclei)
        if not count:
            return
        image = np.searchsorted(self._target.tiles, nuclei.tile)
        box = self._target.tile_boxes[image]
        corner, size = box[:, :2] * UNITS_PER_PX, np.ascontiguousarray(box[:, 2:])
        shift = np.repeat(corner, np.diff(nuclei.offsets), axis=0)
        local = (nuclei.coords - shift).astype(np.int32)
        # Every line begins with a comma and a new line; the first has no comma.
        first = 1 if self._count == 0 else 0
        kind = columns.whole_numbers(nuclei.label.astype(np.int64) + 1)
        where = columns.whole_numbers(image + 1)
        polygon = ring_texts(local, nuclei.offsets, 2, b"", b",", b"", closed=False)
        low = nuclei.bbox[:, :2] - corner
        sides = [*low.T, *(nuclei.bbox[:, 2:] - nuclei.bbox[:, :2]).T]
        corners = [columns.decimals(side / UNITS_PER_PX, 2) for side in sides]
        woven, _ = weave(
            [
                columns.fixed(b',\n{"id":', count),
                columns.whole_numbers(np.arange(self._count + 1, self._count + count + 1)),
                columns.fixed(b',"image_id":', count),
                where,
                columns.fixed(b',"category_id":', count),
                kind,
                columns.fixed(b',"iscrowd":0,"area":', count),
                columns.decimals(nuclei.area_px, 2),
                columns.fixed(b',"bbox":[', count),
                corners[0],
                *(one for side in corners[1:] for one in (columns.fixed(b",", count), side)),
                columns.fixed(b'],"segmentation":[[', count),
                columns.ragged(*polygon),
                columns.fixed(b"]]}", count),
            ]
        )
        self._instances.write(woven.data[first:])
        text, ends, _ = rle_texts(local, nuclei.offsets, size)
        woven, _ = weave(
            [
                columns.fixed(b',\n{"image_id":', count),
                where,
                columns.fixed(b',"category_id":', count),
                kind,
                columns.fixed(b',"score":', count),
                columns.decimals(nuclei.score, columns.SCORE_PLACES),
                columns.fixed(b',"segmentation":{"size":[', count),
                columns.whole_numbers(size[:, 1]),
                columns.fixed(b",", count),
                columns.whole_numbers(size[:, 0]),
                columns.fixed(b'],"counts":"', count),
                columns.ragged(text, ends),
                columns.fixed(b'"}}', count),
            ]
        )
        self._results.write(woven.data[first:])
        self._count += count

    def finish(self) -> None:
        if not self._count:
            LOG.warning(
                "%s: there are no nuclei; pycocotools cannot load the empty results.json",
                self._folder,
            )
        self._instances.write(b"\n]}\n")
        self._results.write(b"\n]\n")
        self._instances.close()
        self._results.close()


def _head(target: Target) -> bytes:
    """Return everything before the first annotation."""
    slide = target.slide
    head = {
        "info": {
            "description": f"Nuclei of {printable(slide.file)}, outlined by nuhtc",
            "slide": vars(slide),
            "run": dict(target.run),
        },
        "licenses": [],
        "categories": [
            {"id": number, "name": cls.name, "supercategory": "nucleus"}
            for number, cls in enumerate(target.classes, start=1)
        ],
        "images": [
            {
                "id": number,
                "file_name": image_name(box),
                "width": int(box[2]),
                "height": int(box[3]),
                "slide_x": int(box[0]),
                "slide_y": int(box[1]),
            }
            for number, box in enumerate(target.tile_boxes, start=1)
        ],
    }
    return orjson.dumps(head)[:-1] + b',"annotations":['
