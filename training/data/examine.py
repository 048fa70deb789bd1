"""Look through a data set, picture by picture, and say what is in it and what is wrong."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nuhtc.runtime.ground.errors import DataError
from nuhtc.training.data.images import AnnotatedImage, AnnotatedSet

NO_CLASS = "no class"


@dataclass
class Report:
    """What a data set holds."""

    name: str
    title: str
    licence: str
    path: str
    mpp: float
    pictures: int
    """listed, whether they can be read or not"""
    read: int = 0
    empty: int = 0
    """pictures without nuclei"""
    nuclei: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    """pictures of each width x height"""
    classes: Counter[str] = field(default_factory=Counter)
    """nuclei of each class, in the set's order"""
    tissue_pictures: Counter[str] = field(default_factory=Counter)
    tissue_nuclei: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """one line each, naming the file or picture"""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "name": self.name,
            "title": self.title,
            "licence": self.licence,
            "path": self.path,
            "mpp": self.mpp,
            "pictures": self.pictures,
            "pictures_read": self.read,
            "pictures_without_nuclei": self.empty,
            "sizes": dict(self.sizes),
            "nuclei": self.nuclei,
            "classes": dict(self.classes),
            "tissues": {
                tissue: {"pictures": count, "nuclei": self.tissue_nuclei[tissue]}
                for tissue, count in sorted(self.tissue_pictures.items())
            },
            "problems": self.problems,
        }

    def as_text(self) -> str:
        """Return the report as a table for people."""
        sizes = ", ".join(
            f"{count:,} of {size}" if len(self.sizes) > 1 else size
            for size, count in self.sizes.most_common(4)
        )
        more = ", ..." if len(self.sizes) > 4 else ""
        rows = [
            ("pictures", f"{self.pictures:,}", f"{sizes}{more}"),
            ("um/px", f"{self.mpp:g}", ""),
            ("without nuclei", f"{self.empty:,}", ""),
            ("nuclei", f"{self.nuclei:,}", ""),
        ]
        rows += [
            (f"  {name}", f"{count:,}", f"{count / max(1, self.nuclei):.1%}")
            for name, count in self.classes.items()
        ]
        if self.tissue_pictures:
            rows.append(("tissues", f"{len(self.tissue_pictures):,}", ""))
        rows += [
            (f"  {tissue}", f"{self.tissue_nuclei[tissue]:,}", f"in {count:,} pictures")
            for tissue, count in sorted(self.tissue_pictures.items())
        ]
        first = max(len(row[0]) for row in rows)
        second = max(len(row[1]) for row in rows)
        lines = [f"{self.name}: {self.title} ({self.licence})"]
        lines += [f"  {a:{first}}  {b:>{second}}  {c}".rstrip() for a, b, c in rows]
        lines.append(f"  problems: {len(self.problems) or 'none'}")
        lines += [f"    {problem}" for problem in self.problems]
        return "\n".join(lines)


def examine(source: AnnotatedSet, step: Callable[[], object] = lambda: None) -> Report:
    """Read every picture and label of a data set.

    Parameters
    ----------
    source
        The data set.
    step
        Called after each picture.

    Returns
    -------
    Report
        With one problem for each picture that cannot be used; the others are counted.
    """
    report = Report(
        source.name,
        source.info.name,
        source.info.licence,
        str(source.path),
        source.mpp,
        len(source),
    )
    report.classes.update({one.name: 0 for one in source.classes or ()})
    names = source.names()
    for name, times in Counter(names).items():
        if times > 1:
            report.problems.append(f"{source.path}: {times} pictures are called {name}")
    for index in range(len(source)):
        try:
            _count(report, source, source[index])
        except DataError as error:
            report.problems.append(str(error))
        step()
    return report


def _count(report: Report, source: AnnotatedSet, image: AnnotatedImage) -> None:
    """Add a picture to the report."""
    height, width = image.instances.shape
    nuclei = len(image)
    report.read += 1
    report.empty += nuclei == 0
    report.nuclei += nuclei
    report.sizes[f"{width}x{height}"] += 1
    if image.tissue is not None:
        report.tissue_pictures[image.tissue] += 1
        report.tissue_nuclei[image.tissue] += nuclei
    if image.types is None or source.classes is None:
        if nuclei:
            report.classes[NO_CLASS] += nuclei
        return
    counts = np.bincount(image.types[1:], minlength=len(source.classes))
    for cls, count in zip(source.classes, counts, strict=True):
        report.classes[cls.name] += int(count)
