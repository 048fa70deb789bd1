"""`nuhtc-run bench`: how long a bundle takes on this machine."""

import argparse
from pathlib import Path

import orjson

from nuhtc.runtime.bench.machine import machine
from nuhtc.runtime.console.options import available_cores, names_of, several, whole
from nuhtc.runtime.engines.names import ENGINES
from nuhtc.runtime.ground.whole_files import whole_file

BUDGET_S = 60.0


def main(argv: list[str]) -> str:
    """Time a bundle and return what to print: a table, or JSON.

    Parameters
    ----------
    argv
        What follows ``bench``.

    Raises
    ------
    BundleError
        The bundle cannot be used.
    OutputError
        The report cannot be written.
    """
    arguments = parser().parse_args(argv)
    from nuhtc.runtime.bench.timings import bench_bundle
    from nuhtc.runtime.bundle.load import default_bundle, load_bundle

    bundle = load_bundle(arguments.bundle or default_bundle())
    report = bench_bundle(
        bundle,
        arguments.engines,
        arguments.nuclei,
        arguments.batches,
        arguments.threads,
        arguments.budget,
    )
    content = {"machine": machine(), **report.as_dict()}
    if arguments.out is not None:
        with whole_file(arguments.out) as partial:
            partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    return orjson.dumps(content).decode() if arguments.json else report.as_text()


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``nuhtc-run bench``."""
    cores = available_cores()
    result = argparse.ArgumentParser(
        prog="nuhtc-run bench",
        description="Time every stage of a tile with each engine and precision that works here.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("bundle", nargs="?", type=Path, metavar="BUNDLE", help="default: the one in the package")
    add(
        "--engines",
        type=names_of(ENGINES[1:]),
        default=ENGINES[1:],
        metavar="NAME[,NAME]",
        help=f"of {', '.join(ENGINES[1:])} (default: all)",
    )
    add(
        "--nuclei",
        type=several(whole(1)),
        default=[50, 10, 300],
        metavar="N[,N]",
        help="nuclei of a tile; batches and threads are timed with the first (default: 50,10,300)",
    )
    add("--batches", type=several(whole(1)), default=[1, 4], metavar="N[,N]", help="default: 1,4")
    add(
        "--threads",
        type=several(whole(1)),
        default=sorted({1, cores}),
        metavar="N[,N]",
        help="CPU threads (default: 1 and all cores)",
    )
    add(
        "--budget",
        type=float,
        default=BUDGET_S,
        metavar="S",
        help="seconds to spend, without loading (default: %(default)s)",
    )
    add("--out", type=Path, metavar="FILE", help="write the JSON here too")
    add("--json", action="store_true", help="print JSON")
    return result
