"""`nuhtc-convert` that stops for an hour after the first nuclei, as a process of its own."""

import sys
import time
from collections.abc import Iterator

from nuhtc.runtime.cli.convert import main
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.store.reader import Store

quick = Store.iter_nuclei


def slow(store: Store, view: View) -> Iterator[Nuclei]:
    """Give the first nuclei, then none for long."""
    for nuclei in quick(store, view):
        yield nuclei
        print("writing", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    Store.iter_nuclei = slow  # type: ignore[method-assign]
    sys.exit(main())
