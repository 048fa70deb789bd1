"""What the public API gives: the nuclei of a slide, and what other libraries take of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.runtime.ground.errors import UsageError

if TYPE_CHECKING:
    from nuhtc.runtime.bundle.card import NucleusClass
    from nuhtc.runtime.nuclei.nuclei import Nuclei
    from nuhtc.runtime.slides.slide import SlideFacts

MOST_PIXELS: Final = 1 << 30
"""Of a label image; a whole slide's would take more memory than most machines have."""

ROWS_AT_ONCE: Final = 1 << 18
"""Nuclei of one Arrow batch: their polygons stay below 2 GiB."""


class Outlines(Sequence[NDArray[np.float64]]):
    """The outlines of many nuclei as ragged arrays.

    ``outlines[i]`` is the i-th as float64 (points, 2): x and y in level-0 pixels, the first point
    not repeated. All of them together are ``coords``, cut up by ``offsets``.

    Parameters
    ----------
    coords
        int32 (M, 2), in hundredths of a level-0 pixel.
    offsets
        int64 (N + 1).
    """

    def __init__(self, coords: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.coords, self.offsets = coords, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self.coords[self.offsets[place] : self.offsets[place + 1]] / 100

    def __repr__(self) -> str:
        return f"<{len(self):,} outlines of {len(self.coords):,} points>"


@dataclass(frozen=True, repr=False)
class SlideNuclei:
    """The nuclei of a slide or a picture, each once, with what they are of."""

    nuclei: Nuclei
    """as arrays, in the order of the tiles"""
    slide: SlideFacts
    """which slide: its size in level-0 pixels, and um per pixel"""
    classes: tuple[NucleusClass, ...]
    """names and colours, by label"""
    run: Mapping[str, object]
    """what found them: model, settings, versions"""

    def __len__(self) -> int:
        return len(self.nuclei)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return f"<{len(self):,} nuclei of {self.slide.file}: {counts}>"

    @property
    def outlines(self) -> Outlines:
        """The outlines, in level-0 pixels."""
        return Outlines(self.nuclei.coords, self.nuclei.offsets)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The class of each, uint8 (N,), an index into `classes`."""
        return self.nuclei.label

    @property
    def scores(self) -> NDArray[np.float32]:
        """The probability of that class, float32 (N,)."""
        return self.nuclei.score

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The probability of every class, float32 (N, C)."""
        return self.nuclei.probabilities

    @property
    def centroids(self) -> NDArray[np.float32]:
        """Centres x, y in level-0 pixels, float32 (N, 2)."""
        return self.nuclei.centroid

    @property
    def areas_um2(self) -> NDArray[np.float64]:
        """Areas in square microns, float64 (N,)."""
        return self.nuclei.area_px * self.slide.mpp**2

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many of each class, by name."""
        found = np.bincount(self.nuclei.label, minlength=len(self.classes)).tolist()
        return dict(zip((cls.name for cls in self.classes), found, strict=True))

    def label_image(self, region: tuple[int, int, int, int] | None = None) -> NDArray[np.int32]:
        """Paint the nuclei: each pixel has the number of the nucleus that its centre lies in.

        Parameters
        ----------
        region
            x, y, width, height in level-0 pixels; None: all of the slide.

        Returns
        -------
        int32 (height, width)
            0 for none, else the nucleus's place plus 1: ``labels[image[y, x] - 1]`` is its class.

        Raises
        ------
        UsageError
            The region has no pixel, or more than memory should be taken for.
        """
        from nuhtc.runtime.nuclei.label_image import label_image

        x, y, width, height = region or (0, 0, self.slide.width_px, self.slide.height_px)
        if width < 1 or height < 1 or width * height > MOST_PIXELS:
            raise UsageError(
                f"a label image of {width} x {height} pixels: give a region (x, y, width, height) "
                f"of 1 to {MOST_PIXELS:,} level-0 pixels"
            )
        return label_image(self.nuclei, (x, y, width, height))

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``: the columns of the GeoParquet file, a row per nucleus.

        ``pyarrow.parquet.write_table`` makes a valid GeoParquet file of it.
        """
        import pyarrow as pa

        from nuhtc.runtime.writers.arrow import arrow_batch, arrow_schema

        schema = arrow_schema(self.slide, self.classes, self.run)
        batches = [
            arrow_batch(
                self.nuclei.take(np.arange(start, min(start + ROWS_AT_ONCE, len(self)))),
                self.classes,
                self.slide.mpp,
                schema,
            )
            for start in range(0, len(self), ROWS_AT_ONCE)
        ]
        return pa.Table.from_batches(batches, schema)

    def to_geopandas(self) -> Any:
        """Return a ``geopandas.GeoDataFrame`` in level-0 pixels, y down, a row per nucleus.

        Raises
        ------
        UsageError
            geopandas is not installed.
        """
        try:
            import geopandas
        except ImportError as error:
            raise UsageError(
                "to_geopandas() needs a package more: pip install geopandas"
            ) from error
        import shapely

        table = self.to_arrow().drop_columns(["bbox"])
        geometry = shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False))
        frame = table.drop_columns(["geometry"]).to_pandas()
        return geopandas.GeoDataFrame(frame, geometry=geometry)
