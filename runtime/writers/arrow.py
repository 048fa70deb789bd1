"""Nuclei as Arrow tables: one row each, outlines as WKB polygons in level-0 pixels.

The schema is that of GeoParquet 1.1, with what this program knows besides under the key `nuhtc`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.writers import wkb

_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


def arrow_schema(
    slide: SlideFacts, classes: Sequence[NucleusClass], run: Mapping[str, object]
) -> pa.Schema:
    """Return the columns of a slide's nuclei.

    Parameters
    ----------
    slide, classes
        The slide, and the classes by label.
    run
        What made the nuclei: model, settings, versions.
    """
    covering = {side: ["bbox", side] for side in _SIDES}
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        # Null says that these are no places on the Earth; a missing key would say longitude.
        "crs": None,
        "edges": "planar",
        "covering": {"bbox": covering},
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    about = {
        **vars(slide),
        "classes": [{"name": one.name, "color": list(one.color)} for one in classes],
        "run": dict(run),
    }
    fields = [
        pa.field("geometry", pa.binary(), nullable=False),
        pa.field("bbox", pa.struct(_sides()), nullable=False),
        pa.field("class", pa.dictionary(pa.int32(), pa.string())),
        *(pa.field(name, pa.float32()) for name in ("score", "area_um2")),
        *(pa.field(name, pa.float32()) for name in ("centroid_x", "centroid_y")),
        pa.field("tile", pa.int32()),
        pa.field("cut", pa.bool_()),
        *(pa.field(f"probability: {one.name}", pa.float32()) for one in classes),
    ]
    return pa.schema(fields, {"geo": orjson.dumps(geo), "nuhtc": orjson.dumps(about)})


def arrow_batch(
    nuclei: Nuclei, classes: Sequence[NucleusClass], mpp: float, schema: pa.Schema
) -> pa.RecordBatch:
    """Return nuclei as rows of `arrow_schema`'s columns.

    Parameters
    ----------
    nuclei
        At most as many as 2 GiB of polygons hold.
    classes
        By label.
    mpp
        um per level-0 pixel, for areas.
    schema
        From `arrow_schema`, of the same classes.
    """
    data, starts, stops = wkb.polygons(nuclei)
    offsets = np.append(starts, stops[-1:]).astype(np.int32)
    sides = (nuclei.bbox / UNITS_PER_PX).T
    # An outer bound even where single precision cannot hold the hundredth.
    low = [np.nextafter(side.astype(np.float32), np.float32(-np.inf)) for side in sides[:2]]
    high = [np.nextafter(side.astype(np.float32), np.float32(np.inf)) for side in sides[2:]]
    names = pa.array([one.name for one in classes], pa.string())
    return pa.RecordBatch.from_arrays(
        [
            pa.BinaryArray.from_buffers(
                pa.binary(), len(nuclei), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
            ),
            pa.StructArray.from_arrays([pa.array(side) for side in (*low, *high)], fields=_sides()),
            pa.DictionaryArray.from_arrays(pa.array(nuclei.label.astype(np.int32)), names),
            pa.array(nuclei.score),
            pa.array((nuclei.area_px * mpp**2).astype(np.float32)),
            *(pa.array(np.ascontiguousarray(axis)) for axis in nuclei.centroid.T),
            pa.array(nuclei.tile),
            pa.array(nuclei.cut),
            *(pa.array(np.ascontiguousarray(one)) for one in nuclei.probabilities.T),
        ],
        schema=schema,
    )


def _sides() -> list[pa.Field]:
    return [pa.field(side, pa.float32(), nullable=False) for side in _SIDES]
