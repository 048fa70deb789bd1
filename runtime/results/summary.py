"""What one run found and what it cost: `<stem>.summary.json` and a few lines for people.

Keys of the JSON, sorted; all but those that begin with `seconds` are equal in two runs:

============================ ======================================================================
bundle                       `name`, `digest` and `model_mpp` (um per pixel) of the network
damaged_px                   x, y, width, height of each damaged area, taken as white, in level 0
engine                       what the network ran on
engine_reason                why that was taken: `named`, or the rule and what does not work here
nuclei                       how many, each counted once
nuclei_cut                   of these, how many end at the edge of what tiles saw of them
nuclei_per_class             how many by class name
nuclei_per_mm2               nuclei per square millimetre of tissue; null without tissue
outputs                      the files beside this one
precision                    what the network computed in
seconds                      `tissue` (digest, thumbnail, mask), `read` (the network waited for
                             tiles), `network`, `outlines`, `stitch`, `write`, and their `total`
seconds_per_mm2              the total, per square millimetre of tissue; null without tissue
seconds_per_tile             the total, per tile; null without tiles
settings                     the options as resolved, units in their names
slide                        `file`, `digest`, `width_px`, `height_px`, `mpp` of level 0
tiles                        how many tiles hold tissue: `run` and `skipped` (all damaged)
tiles_skipped_px             x, y, width, height of each skipped tile in level-0 pixels
tissue_mm2                   area of the tissue
versions                     of this program and of what it stands on
============================ ======================================================================
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import BundleFacts, NucleusClass
from nuhtc.runtime.ground.versions import versions
from nuhtc.runtime.ground.whole_files import whole_file
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.pipeline.clock import STAGES, Clock
from nuhtc.runtime.pipeline.plan import check_any_read
from nuhtc.runtime.pipeline.settings import RunSettings
from nuhtc.runtime.slides.slide import Area, SlideFacts
from nuhtc.runtime.store.manifest import Manifest
from nuhtc.runtime.tiles.grid import tile_boxes


@dataclass(frozen=True)
class Summary:
    """The result of one slide in numbers; the module's docstring explains each."""

    slide: SlideFacts
    """what it ran on"""
    bundle: BundleFacts
    """the model that ran"""
    engine: str
    """what ran the model"""
    settings: Mapping[str, object]
    """the resolved options by name"""
    nuclei_per_class: Mapping[str, int]
    """by class name, in the card's order"""
    nuclei_cut: int
    """nuclei whose outline ends at the edge of what tiles saw of them"""
    tissue_mm2: float
    """area of the tissue"""
    tiles_run: int
    """tiles that went through the network"""
    tiles_skipped_px: tuple[tuple[int, int, int, int], ...]
    """x, y, width, height in level-0 pixels of the tiles of which nothing could be read"""
    seconds: Mapping[str, float]
    """by stage"""
    outputs: tuple[str, ...] = field(default=())
    """names of the files beside the summary"""
    precision: str = "fp32"
    """what the engine computed in"""
    engine_reason: str = "named"
    """why the engine was taken"""
    damaged_px: tuple[tuple[int, int, int, int], ...] = field(default=())
    """x, y, width, height in level-0 pixels of the damaged areas that were taken as white"""

    @property
    def nuclei(self) -> int:
        """How many nuclei there are."""
        return sum(self.nuclei_per_class.values())

    @property
    def nuclei_per_mm2(self) -> float | None:
        """Nuclei per square millimetre of tissue, None without tissue."""
        return self.nuclei / self.tissue_mm2 if self.tissue_mm2 > 0 else None

    @property
    def total_seconds(self) -> float:
        """Seconds of all stages together."""
        return sum(self.seconds.values())

    @property
    def seconds_per_mm2(self) -> float | None:
        """Seconds per square millimetre of tissue, None without tissue."""
        return self.total_seconds / self.tissue_mm2 if self.tissue_mm2 > 0 else None

    def as_dict(self) -> dict[str, object]:
        """Return the summary as the JSON file holds it."""
        tiles = self.tiles_run + len(self.tiles_skipped_px)
        seconds = {stage: self.seconds.get(stage, 0.0) for stage in STAGES}
        return {
            "bundle": vars(self.bundle),
            "damaged_px": [list(area) for area in self.damaged_px],
            "engine": self.engine,
            "engine_reason": self.engine_reason,
            "nuclei": self.nuclei,
            "nuclei_cut": self.nuclei_cut,
            "nuclei_per_class": dict(self.nuclei_per_class),
            "nuclei_per_mm2": _rounded(self.nuclei_per_mm2, 2),
            "outputs": list(self.outputs),
            "precision": self.precision,
            "seconds": {
                stage: round(value, 4)
                for stage, value in {**seconds, "total": self.total_seconds}.items()
            },
            "seconds_per_mm2": _rounded(self.seconds_per_mm2, 4),
            "seconds_per_tile": _rounded(self.total_seconds / tiles if tiles else None, 4),
            "settings": dict(self.settings),
            "slide": vars(self.slide),
            "tiles": {"run": self.tiles_run, "skipped": len(self.tiles_skipped_px)},
            "tiles_skipped_px": [list(tile) for tile in self.tiles_skipped_px],
            "tissue_mm2": round(self.tissue_mm2, 6),
            "versions": versions(),
        }

    def as_json(self, *, indent: bool = False) -> bytes:
        """Return the summary as JSON with sorted keys, on one line unless indented."""
        options = orjson.OPT_SORT_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
        return orjson.dumps(self.as_dict(), option=options)

    def as_text(self, folder: Path) -> str:
        """Return a few lines for people; `folder` is where the outputs are."""
        density = self.nuclei_per_mm2
        found = f"{self.nuclei:,} nuclei in {self.tissue_mm2:.3g} mm2 of tissue"
        if density is not None:
            found += f", {density:,.0f} per mm2"
        lines = [f"{self.slide.file}: {found}"]
        kinds = [f"{name} {count:,}" for name, count in self.nuclei_per_class.items()]
        lines.append(f"  {', '.join(kinds)}")
        stages = ", ".join(f"{stage} {self.seconds.get(stage, 0.0):.1f}" for stage in STAGES)
        pace = self.seconds_per_mm2
        paced = f" ({pace:.1f} s/mm2)" if pace is not None else ""
        lines.append(f"  {self.total_seconds:.1f} s{paced}: {stages}")
        if self.damaged_px:
            lines.append(f"  {len(self.damaged_px)} areas are damaged and were taken as white")
        if self.tiles_skipped_px:
            total = self.tiles_run + len(self.tiles_skipped_px)
            lines.append(f"  {len(self.tiles_skipped_px)} of {total} tiles skipped: damaged")
        lines.extend(f"  {folder / name}" for name in self.outputs)
        return "\n".join(lines)


class Tally:
    """Counts nuclei as they stream by."""

    def __init__(self, classes: Sequence[NucleusClass]) -> None:
        self._names = [one.name for one in classes]
        self._counts = np.zeros(len(classes), np.int64)
        self.cut = 0

    def add(self, nuclei: Nuclei) -> None:
        """Count some more."""
        self._counts += np.bincount(nuclei.label, minlength=len(self._counts))
        self.cut += int(nuclei.cut.sum())

    def counting(self, chunks: Iterable[Nuclei]) -> Iterator[Nuclei]:
        """Hand chunks on and count them."""
        for nuclei in chunks:
            self.add(nuclei)
            yield nuclei

    @property
    def per_class(self) -> dict[str, int]:
        """How many by class name, in the order of the classes."""
        return dict(zip(self._names, self._counts.tolist(), strict=True))


def summarize(
    manifest: Manifest,
    settings: RunSettings,
    view: View,
    skipped: NDArray[np.int64],
    damaged: Sequence[Area],
    tally: Tally,
    clock: Clock,
) -> Summary:
    """Return the summary of a run whose nuclei were counted by `tally`.

    `skipped` are the tiles of which nothing could be read, `damaged` the areas, in level-0
    pixels, that were taken as white.

    Raises
    ------
    SlideReadError
        When there were tiles and none of them could be read.
    """
    check_any_read(manifest, skipped)
    boxes = tile_boxes(manifest.grid, skipped, manifest.scale, manifest.slide)
    return Summary(
        slide=manifest.slide,
        bundle=manifest.bundle,
        engine=manifest.engine,
        precision=manifest.precision,
        engine_reason=manifest.engine_reason,
        settings={
            **asdict(settings),
            "min_area_um2": view.min_area_um2,
            "overlaps": view.overlaps,
        },
        nuclei_per_class=tally.per_class,
        nuclei_cut=tally.cut,
        tissue_mm2=manifest.tissue_mm2,
        tiles_run=len(manifest.tiles) - len(skipped),
        tiles_skipped_px=tuple((x, y, w, h) for x, y, w, h in boxes.tolist()),
        seconds=clock.seconds,
        damaged_px=tuple(sorted(set(damaged))),
    )


def write_summary(path: Path, summary: Summary) -> None:
    """Write the summary's JSON; the file appears whole or not at all.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    with whole_file(path) as partial:
        partial.write_bytes(summary.as_json(indent=True) + b"\n")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
