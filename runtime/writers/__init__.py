"""One file per output format; each takes nuclei some thousands at a time.

A writer is a context that is given the place to write and what is known of the slide, and gives
an `Output`, whose `write` takes nuclei any number of times. The files get their final names when
the block ends, and none does when it fails.
"""

from typing import Final

FORMATS: Final = ("qupath", "dsa", "sql", "coco", "geoparquet")
"""The formats that can be written, as `--format` names them."""

DEFAULT_FORMATS: Final = ("qupath", "sql")
"""What a run writes unless told otherwise."""
