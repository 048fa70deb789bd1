"""What a run's time goes to."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("tissue", "read", "network", "outlines", "stitch", "write")
"""Every stage whose time is kept, in the order of the flow."""


class Clock:
    """Seconds by stage; a stage entered again adds to its own, one inside another takes from it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block for one stage, but for that of stages inside it."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        """Add the time since the last call to the innermost stage, if there is one."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
