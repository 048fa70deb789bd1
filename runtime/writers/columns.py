"""Text and bytes by column, to be woven into one record per nucleus."""

import hashlib
import uuid
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nuhtc.native.text import decimal_texts, ring_texts
from nuhtc.runtime.nuclei.nuclei import UNITS_PER_PX, Nuclei

Column = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
"""Bytes, and where each row's piece starts and stops in them."""

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "nuhtc:nucleus")

SCORE_PLACES: Final = 4
"""Decimals of scores and probabilities in text formats."""

AREA_PLACES: Final = 2
"""Decimals of areas in text formats."""


def fixed(text: bytes, count: int) -> Column:
    """Return the same text for every row."""
    return (
        np.frombuffer(text, np.uint8),
        np.zeros(count, np.int64),
        np.full(count, len(text), np.int64),
    )


def by_label(texts: Sequence[bytes], label: NDArray[np.uint8]) -> Column:
    """Return each row's text by its label."""
    cuts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=cuts[1:])
    return np.frombuffer(b"".join(texts), np.uint8), cuts[:-1][label], cuts[1:][label]


def rows(table: NDArray[np.generic]) -> Column:
    """Return each row of a table of fixed-size records as it lies in memory."""
    flat = np.ascontiguousarray(table).view(np.uint8).reshape(-1)
    width = flat.size // len(table) if len(table) else 0
    starts = np.arange(len(table), dtype=np.int64) * width
    return flat, starts, starts + width


def ragged(data: NDArray[np.uint8], cuts: NDArray[np.int64]) -> Column:
    """Return the pieces that cuts make of some bytes."""
    return data, cuts[:-1], cuts[1:]


def decimals(values: NDArray[np.floating], places: int) -> Column:
    """Return numbers as text, rounded to some decimals; float64 (N,)."""
    scaled = np.rint(values.astype(np.float64) * 10**places).astype(np.int64)
    return ragged(*decimal_texts(scaled, places))


def whole_numbers(values: NDArray[np.integer]) -> Column:
    """Return integers as text."""
    return ragged(*decimal_texts(values.astype(np.int64), 0))


def rings(
    nuclei: Nuclei, opening: bytes, between: bytes, closing: bytes, *, closed: bool
) -> Column:
    """Return each outline's points as text in level-0 pixels, 2 decimals where needed."""
    return ragged(
        *ring_texts(nuclei.coords, nuclei.offsets, 2, opening, between, closing, closed=closed)
    )


def numbers(nuclei: Nuclei, names: Sequence[bytes]) -> list[Column]:
    """Return `name number` for the score, then for each class's probability."""
    values = [nuclei.score, *nuclei.probabilities.T]
    columns = []
    for name, value in zip(names, values, strict=True):
        columns += [fixed(name, len(nuclei)), decimals(value, SCORE_PLACES)]
    return columns


def digests(nuclei: Nuclei, slide_digest: str, kind: bytes = b"") -> NDArray[np.uint8]:
    """Return 16 bytes per nucleus that tell it from every other, uint8 (N, 16).

    Parameters
    ----------
    nuclei
        Their outlines are what is hashed, so that an id depends on the nucleus alone.
    slide_digest
        Tells slides apart.
    kind
        Tells apart several things made of one nucleus.
    """
    slide = hashlib.sha1(NAMESPACE.bytes + slide_digest.encode() + kind, usedforsecurity=False)
    # Hashed as little-endian 32-bit numbers, whatever the machine.
    data = memoryview(nuclei.coords.astype("<i4").tobytes())
    bounds = (nuclei.offsets * (2 * nuclei.coords.itemsize)).tolist()
    found = bytearray()
    for low, high in pairwise(bounds):
        hasher = slide.copy()
        hasher.update(data[low:high])
        found += hasher.digest()[:16]
    return np.frombuffer(found, np.uint8).reshape(-1, 16)


def uuids(digest: NDArray[np.uint8]) -> Column:
    """Return version 5 UUIDs as text."""
    fields = digest.copy()
    fields[:, 6] = fields[:, 6] & 0x0F | 0x50
    fields[:, 8] = fields[:, 8] & 0x3F | 0x80
    plain = np.frombuffer(fields.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    text = np.full((len(digest), 36), ord("-"), np.uint8)
    for place, low, high in ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32)):
        text[:, place : place + high - low] = plain[:, low:high]
    return rows(text)


def hexadecimal(digest: NDArray[np.uint8], length: int) -> Column:
    """Return the first `length` hexadecimal digits of each digest, lower case."""
    text = np.frombuffer(digest.tobytes().hex().encode(), np.uint8).reshape(len(digest), -1)
    return rows(text[:, :length])


def areas_um2(nuclei: Nuclei, mpp: float) -> Column:
    """Return areas in um2 as text."""
    return decimals(nuclei.area_px * mpp**2, AREA_PLACES)


def pixels(nuclei: Nuclei) -> NDArray[np.float64]:
    """Return the points in level-0 pixels, float64 (M, 2)."""
    return nuclei.coords / UNITS_PER_PX
