"""`nuhtc-convert` that stops for an hour after the first nuclei, as a process of its own."""

import sys
import time
from collections.abc import Iterator

import nuhtc.runtime.convert as convert
from nuhtc.runtime.convert_cli import main
from nuhtc.runtime.nuclei.nuclei import Nuclei

quick = convert.iter_nuclei


def slow(*what: object) -> Iterator[Nuclei]:
    """Give the first nuclei, then none for long."""
    for nuclei in quick(*what):
        yield nuclei
        print("writing", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    convert.iter_nuclei = slow
    sys.exit(main())
