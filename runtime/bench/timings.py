"""How long a bundle takes here: each stage of a tile by engine, precision and nuclei.

What a tile costs depends on what is in it, so its nuclei are a setting: the trunk and its
proposals are those of a made tile, repeated if they are fewer than asked for; then the N best
regions are kept whatever their scores and overlaps, and get masks and outlines.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.bundle.card import Card
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.demo.slide import demo_picture
from nuhtc.runtime.engines.cascade import joined, propose, select_detections
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.graphs import Graphs
from nuhtc.runtime.engines.names import PRECISIONS_OF
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.ground.errors import NuhtcError
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.tiles.grid import Grid

TIMED = ("trunk", "proposals", "heads", "masks", "outlines")
"""The stages timed, in order; ``proposals`` is everything that chooses regions."""

LEAST_REPEATS = 3
MOST_REPEATS = 50
LEAST_PICTURE_PX = 128


@dataclass(frozen=True)
class Timing:
    """Median time of a batch of tiles."""

    engine: str
    """what ran"""
    precision: str
    """what it computed in"""
    threads: int
    """CPU threads that it had"""
    batch: int
    """tiles at a time"""
    nuclei: int
    """nuclei of each tile"""
    regions: int
    """regions of each tile"""
    ms: dict[str, float]
    """milliseconds per tile by stage"""
    total_ms: float
    """milliseconds per tile of all stages together: the median of whole runs"""
    repeats: int
    """runs that the medians are of"""

    @property
    def tiles_per_second(self) -> float:
        """How many tiles a second holds."""
        return 1000 / self.total_ms


@dataclass
class Report:
    """Every timing of a bundle, and what did not run and why."""

    bundle: str
    preset: str
    tile_px: int
    timings: list[Timing] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        rows = [
            {**asdict(timing), "tiles_per_second": round(timing.tiles_per_second, 2)}
            for timing in self.timings
        ]
        return {**asdict(self), "timings": rows}

    def as_text(self) -> str:
        """Return a table for people."""
        head = f"{'engine':14}{'precision':10}{'threads':>8}{'batch':>6}{'nuclei':>7}{'regions':>8}"
        lines = [f"{self.bundle} ({self.preset}), tiles of {self.tile_px} px, ms per tile"]
        lines.append(head + "".join(f"{name:>11}" for name in (*TIMED, "total", "tiles/s")))
        for timing in self.timings:
            row = f"{timing.engine:14}{timing.precision:10}{timing.threads:8}{timing.batch:6}"
            row += f"{timing.nuclei:7}{timing.regions:8}"
            stages = (timing.ms[name] for name in TIMED)
            values = [*stages, timing.total_ms, timing.tiles_per_second]
            lines.append(row + "".join(f"{value:11.2f}" for value in values))
        lines.extend(f"not run: {name}: {why}" for name, why in self.not_run.items())
        return "\n".join(lines)


def bench_bundle(
    bundle: Bundle,
    engines: Sequence[str],
    nuclei: Sequence[int],
    batches: Sequence[int],
    threads: Sequence[int],
    budget: float,
) -> Report:
    """Time a bundle with every engine and precision that works here.

    Parameters
    ----------
    bundle
        A checked bundle.
    engines
        Of PRECISIONS_OF.
    nuclei
        Nuclei of a tile; each is timed alone, on the most threads.
    batches, threads
        Each pair is timed with the first of ``nuclei``.
    budget
        Seconds for everything but the loading of graphs.
    """
    report = Report(bundle.card.name, bundle.card.preset, bundle.card.tile)
    stored = bundle.card.precisions
    wanted = [
        (engine, precision)
        for engine in engines
        for precision in PRECISIONS_OF[engine]
        if precision in stored or (precision == "bf16" and "fp32" in stored)
    ]
    jobs = cases(nuclei, batches, threads)
    share = budget / max(1, len(wanted) * len(jobs))
    for engine, precision in wanted:
        try:
            for count in sorted(set(threads), reverse=True):
                graphs = open_engine(bundle, engine, precision, count).graphs
                report.timings += [
                    time_tiles(graphs, bundle.card, precision, *job, share)
                    for job in jobs
                    if job[0] == count
                ]
        except NuhtcError as error:
            report.not_run[f"{engine} {precision}"] = str(error)
    return report


def cases(
    nuclei: Sequence[int], batches: Sequence[int], threads: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Return what is timed, once each: (threads, batch, nuclei)."""
    alone = [(max(threads), 1, count) for count in nuclei]
    together = [(count, batch, nuclei[0]) for count in threads for batch in batches]
    return list(dict.fromkeys([*alone, *together]))


def time_tiles(
    graphs: Graphs,
    card: Card,
    precision: str,
    threads: int,
    batch: int,
    nuclei: int,
    budget: float,
) -> Timing:
    """Time a batch of made tiles that hold so many nuclei each.

    Parameters
    ----------
    graphs
        An engine's.
    card
        The bundle's; its thresholds give way to the number of nuclei.
    precision, threads
        For the record.
    batch, nuclei
        Tiles, and nuclei of each.
    budget
        Seconds to spend; a few repetitions are made whatever they take.
    """
    side = max(card.tile, LEAST_PICTURE_PX)
    picture, _ = demo_picture(width=side, height=side)
    tiles = np.repeat(picture[None, : card.tile, : card.tile], batch, axis=0)
    run = _Run(graphs, card, tiles, nuclei)
    run.once()
    seconds: list[dict[str, float]] = []
    end = time.perf_counter() + budget
    while len(seconds) < LEAST_REPEATS or (
        len(seconds) < MOST_REPEATS and time.perf_counter() < end
    ):
        seconds.append(run.once())
    ms = 1000 / batch
    return Timing(
        graphs.name,
        precision,
        threads,
        batch,
        nuclei,
        run.regions,
        {name: round(ms * statistics.median(s[name] for s in seconds), 3) for name in TIMED},
        round(ms * statistics.median(sum(s.values()) for s in seconds), 3),
        len(seconds),
    )


class _Run:
    """One batch through every stage, a clock beside each."""

    def __init__(self, graphs: Graphs, card: Card, tiles: NDArray[np.uint8], nuclei: int) -> None:
        self._graphs, self._tiles, self._nuclei = graphs, tiles, nuclei
        self._card = card.with_detection(score=-1.0, nms=1.0, nms_per_class=False, count=nuclei)
        self._grid = Grid(width=card.tile, height=card.tile, tile=card.tile, overlap=0)
        self.regions = 0

    def once(self) -> dict[str, float]:
        """Run the batch once and return the seconds by stage."""
        seconds = dict.fromkeys(TIMED, 0.0)

        def timed(stage: str, work: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            answer = work()
            seconds[stage] += time.perf_counter() - start
            return answer

        graphs, card = self._graphs, self._card
        trunk = timed("trunk", lambda: graphs.trunk(self._tiles))
        found = (trunk.boxes, trunk.scores, trunk.levels, trunk.foreground)
        regions = timed("proposals", lambda: propose(card.proposals, *found))
        regions = [part if len(part) else _middle(card) for part in regions]
        regions = [np.resize(part, (max(len(part), self._nuclei), 4)) for part in regions]
        self.regions = len(regions[0])
        every, tile = joined(regions)
        corners, classes = timed("heads", lambda: graphs.heads(trunk.features, every, tile))
        parts = [np.flatnonzero(tile == index) for index in range(len(regions))]
        chosen = timed(
            "proposals",
            lambda: [
                part[select_detections(corners[part], classes[part], card.detection)[0]]
                for part in parts
            ],
        )
        final = [corners[index] for index in chosen]
        masks = timed("masks", lambda: graphs.masks(trunk.features, *joined(final)))
        kept = np.split(masks, np.cumsum([len(index) for index in chosen])[:-1])
        scale = np.float32(card.input_scale)
        answers = [
            Detections(boxes / scale, classes[index], mask)
            for boxes, index, mask in zip(final, chosen, kept, strict=True)
        ]
        threshold = card.detection.mask_threshold
        timed(
            "outlines",
            lambda: [trace_tile(one, self._grid, 0, mask_threshold=threshold) for one in answers],
        )
        return seconds


def _middle(card: Card) -> NDArray[np.float32]:
    """Return one region in the middle of a tile where nothing was proposed."""
    middle = card.tile * card.input_scale / 2
    return np.array([[middle - 8, middle - 8, middle + 8, middle + 8]], np.float32)
