"""One file per output format; each writes what `nuhtc.runtime.nuclei` holds."""

from typing import Final

FORMATS: Final = ("qupath",)
"""The formats that can be written, as `--format` names them."""
