"""The parity report: every precision of a bundle beside PyTorch, for people and programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from nuhtc.export.proof.limits import Limits
from nuhtc.export.proof.parity import Difference
from nuhtc.export.proof.quality import Agreement, Quality
from nuhtc.runtime.ground.strict_json import finite

FOUND = (
    "precision",
    "MB",
    "nuclei",
    "PyTorch",
    "both",
    "F1",
    "same class",
    "box px",
    "mask IoU",
    "least",
)
MEASURED = ("data", "pictures", "precision", "PQ", "change", "mPQ")


@dataclass(frozen=True)
class PrecisionReport:
    """How one precision compares with PyTorch."""

    limits: Limits
    differences: tuple[Difference, ...]
    """of each output of each graph"""
    agreement: Agreement
    """of what is found in the same tiles"""
    quality: Mapping[str, Quality]
    """by data set; empty where none was given"""
    size: int
    """bytes of its graphs"""


@dataclass(frozen=True)
class Report:
    """All precisions of a bundle."""

    tiles: int
    source: str
    """what the tiles are"""
    reference: Mapping[str, Quality]
    """PyTorch's, by data set"""
    precisions: Mapping[str, PrecisionReport]

    def failures(self) -> list[str]:
        """Return what is beyond its limit, one line each; empty where everything passes."""
        found = []
        for name, precision in self.precisions.items():
            found += [
                f"{name}: {d.output} differs by {d.largest:.2g}, limit {d.limit:g}"
                for d in precision.differences
                if not d.passes
            ]
            agreement, limits = precision.agreement, precision.limits
            for what, value, least in (
                ("agreement (F1) on nuclei", agreement.f1, limits.agreement),
                ("mean mask IoU", agreement.mask_iou, limits.mask_iou),
            ):
                if not value >= least:
                    found.append(f"{name}: {what} {value:.4f}, at least {least:g} wanted")
            for data, quality in precision.quality.items():
                loss = self.reference[data].pq - quality.pq
                if not loss <= limits.pq_loss:
                    found.append(f"{name}: PQ on {data} {loss:.4f} lower, limit {limits.pq_loss:g}")
        return found

    def as_json(self) -> bytes:
        """Return the content of ``parity.json``; values that are no numbers become null."""
        content = {
            "format": "nuhtc-parity",
            "version": 1,
            "tiles": {"count": self.tiles, "source": self.source},
            "pytorch": {"quality": {k: asdict(v) for k, v in self.reference.items()}},
            "precisions": {
                name: {
                    "bytes": precision.size,
                    "limits": asdict(precision.limits),
                    "outputs": {
                        d.output: {"largest": d.largest, "mean": d.mean, "limit": d.limit}
                        for d in precision.differences
                    },
                    "detections": {**asdict(precision.agreement), "f1": precision.agreement.f1},
                    "quality": {k: asdict(v) for k, v in precision.quality.items()},
                }
                for name, precision in self.precisions.items()
            },
            "passes": not self.failures(),
        }
        return (json.dumps(finite(content), indent=2, allow_nan=False) + "\n").encode()

    def as_text(self) -> str:
        """Return the tables, as Markdown that reads well as plain text: ``parity.md``."""
        parts = [f"Parity with PyTorch on {self.source}"]
        for name, precision in self.precisions.items():
            parts.append(f"{name}, largest and mean difference of each output:")
            parts.append(_table(("output", "largest", "mean", "limit"), _outputs(precision)))
        parts.append("What is found in these tiles:")
        parts.append(_table(FOUND, [_found(name, one) for name, one in self.precisions.items()]))
        if self.reference:
            parts.append("Held-out pictures, PQ and mPQ; the change is from PyTorch:")
            parts.append(_table(MEASURED, self._quality()))
        failures = self.failures()
        parts.append(
            "All within the limits."
            if not failures
            else "Beyond the limits:\n- " + "\n- ".join(failures)
        )
        return "\n\n".join(parts) + "\n"

    def _quality(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for data, reference in self.reference.items():
            each = [("PyTorch", reference)]
            each += [(name, one.quality[data]) for name, one in self.precisions.items()]
            for name, quality in each:
                change = "" if name == "PyTorch" else f"{quality.pq - reference.pq:+.4f}"
                mpq = "" if quality.mpq is None else f"{quality.mpq:.4f}"
                pictures = str(quality.pictures)
                rows.append((data, pictures, name, f"{quality.pq:.4f}", change, mpq))
        return rows


def _outputs(precision: PrecisionReport) -> list[tuple[str, ...]]:
    return [
        (d.output, f"{d.largest:.2e}", f"{d.mean:.2e}", f"{d.limit:g}" + " !" * (not d.passes))
        for d in precision.differences
    ]


def _found(name: str, precision: PrecisionReport) -> tuple[str, ...]:
    a = precision.agreement
    return (
        name,
        f"{precision.size / 1e6:.1f}",
        str(a.found),
        str(a.expected),
        str(a.matched),
        f"{a.f1:.4f}",
        str(a.same_class),
        f"{a.box_difference:.3f}",
        f"{a.mask_iou:.4f}",
        f"{a.least_mask_iou:.4f}",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up; numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join((first, *rest)) + " |"

    rule = "|".join("-" * (width + 1) + ("-" if not i else ":") for i, width in enumerate(widths))
    return "\n".join((line(head), f"|{rule}|", *map(line, rows)))
