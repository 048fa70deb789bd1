"""`nuhtc-run` as people type it, on pictures of known nuclei."""

from pathlib import Path

from made.blobs import random_ellipses

from nuhtc.runtime.cli.run import main

LABELS = random_ellipses(21, 200, 240, 40, (8.0, 28.0))


def run(*argv: object) -> int:
    """Run the command line and return the exit code."""
    return main([str(one) for one in argv])


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def outputs(*stems: str) -> list[str]:
    """Return what a run leaves for each slide unless told otherwise."""
    ends = (".geojson.gz", ".gpkg", ".nuclei", ".overlay.png", ".summary.json")
    return sorted(stem + end for stem in stems for end in ends)
