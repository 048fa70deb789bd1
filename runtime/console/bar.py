"""A progress bar on stderr, where that is a terminal."""

import sys
from types import TracebackType


class Bar:
    """A bar that is moved by hand; use it in a `with` block.

    Parameters
    ----------
    name
        What stands before it.
    unit
        What is counted, in the plural.
    total
        How many there are; None until `update` says it.
    """

    def __init__(self, name: str, unit: str, total: int | None = None) -> None:
        from tqdm import tqdm

        # disable=None: shown on a terminal only. One bar, moved by hand, needs no helper thread.
        tqdm.monitor_interval = 0
        self._bar = tqdm(
            desc=name, unit=f" {unit}", total=total, file=sys.stderr, disable=None, leave=False
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, done: int, total: int) -> None:
        """Show how many of how many are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def step(self) -> None:
        """Show that one more is done."""
        self._bar.update()
