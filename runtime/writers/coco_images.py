"""The pictures that COCO's `images` name: every tile that was run, in level-0 pixels."""

import numpy as np
from PIL import Image

from nuhtc.runtime.ground.errors import OutputError, SlideError
from nuhtc.runtime.ground.whole_files import explain, whole_file
from nuhtc.runtime.slides.slide import Slide, SlideFacts
from nuhtc.runtime.writers.coco import SUFFIX, image_name
from nuhtc.runtime.writers.target import Target


def check_slide(slide: Slide, expected: SlideFacts) -> None:
    """Check that a slide is the one that nuclei are of.

    Raises
    ------
    SlideError
        When it is another.
    """
    if slide.digest() != expected.digest:
        raise SlideError(
            f"{slide.path or slide.name}: is not the slide that the store is of "
            f"({expected.file}): give that one"
        )


def write_tile_images(target: Target, slide: Slide) -> int:
    """Write a PNG for every tile into `<stem>.coco/images`, and return how many.

    Parameters
    ----------
    target
        Where, and the tiles.
    slide
        The slide that the nuclei are of.

    Raises
    ------
    SlideError
        When one of its tiles cannot be read.
    OutputError
        When a picture cannot be written.
    """
    folder = target.path(SUFFIX)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise OutputError(explain(refused, folder)) from refused
    for box in target.tile_boxes:
        x, y, width, height = (int(side) for side in box)
        picture = Image.fromarray(np.ascontiguousarray(slide.read(x, y, 0, width, height)))
        with whole_file(folder / image_name(box)) as partial:
            picture.save(partial, format="PNG", compress_level=1)
    return len(target.tile_boxes)
