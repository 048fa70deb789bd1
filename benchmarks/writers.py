"""Time the store and every writer beside the plain way to write the same.

    python benchmarks/writers.py [--nuclei N] [--only NAME] [--json]

Each writer takes all nuclei of `many_nuclei.py` in chunks once; the plain way takes a fiftieth.
"""

import argparse
import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from many_nuclei import chunks, fill_store, target
from plain_writers import PLAIN
from timing import Stopwatch

from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers import FORMATS
from nuhtc.runtime.writers.open import open_output

PLAIN_SHARE = 50


@dataclass(frozen=True)
class Timing:
    """One writer's time and size, and the plain way's."""

    writer: str
    nuclei: int
    per_second: float
    bytes_each: float
    plain: str
    plain_per_second: float
    plain_bytes_each: float


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def time_writer(name: str, folder: Path, total: int) -> float:
    """Return the seconds that a writer itself takes, without the making of the nuclei."""
    watch = Stopwatch()
    with ExitStack() as stack:
        with watch:
            output = stack.enter_context(open_output(name, target(folder, total)))
        for nuclei in chunks(total):
            with watch:
                output.write(nuclei)
        with watch:
            stack.close()
    return watch.seconds


def timed(name: str, total: int) -> Timing:
    """Time one writer and its plain counterpart."""
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        if name == "store":
            seconds = fill_store(folder / "made.nuclei", total)
        else:
            seconds = time_writer(name, folder, total)
        size = size_of(folder)
        shutil.rmtree(folder)
        folder.mkdir()
        few = max(1, total // PLAIN_SHARE)
        nuclei = Nuclei.concatenate(list(chunks(few)))
        what, write = PLAIN[name]
        with Stopwatch() as watch:
            write(folder, nuclei)
        plain_size = size_of(folder)
    return Timing(
        writer=name,
        nuclei=total,
        per_second=total / seconds,
        bytes_each=size / total,
        plain=what,
        plain_per_second=few / watch.seconds,
        plain_bytes_each=plain_size / few,
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time the store and every writer.")
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--only", choices=tuple(PLAIN))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    timings = []
    for name in [arguments.only] if arguments.only else ["store", *FORMATS]:
        timings.append(timed(name, arguments.nuclei))
        if not arguments.json:
            one = timings[-1]
            print(
                f"{one.writer:<11} {one.per_second:>9,.0f}/s {one.bytes_each:>5.0f} B each   "
                f"{one.per_second / one.plain_per_second:>5.1f} x {one.plain} "
                f"({one.plain_per_second:,.0f}/s, {one.plain_bytes_each:.0f} B)",
                flush=True,
            )
    if arguments.json:
        print(json.dumps([asdict(one) for one in timings]))


if __name__ == "__main__":
    main()
