"""Numbers and outlines as text, against Python's own."""

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuhtc.native.text import decimal_texts, ring_texts, weave

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)


def pieces(text: np.ndarray, ends: np.ndarray) -> list[bytes]:
    return [text[low:high].tobytes() for low, high in pairwise(ends)]


def plain(value: int, places: int) -> bytes:
    """Return value / 10**places as Python's Decimal writes it, without trailing zeros."""
    text = f"{Decimal(value).scaleb(-places):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()


@given(values=st.lists(INT64, max_size=20), places=st.integers(0, 18))
def test_decimals_are_exact(values: list[int], places: int) -> None:
    found = pieces(*decimal_texts(np.array(values, np.int64), places))
    assert found == [plain(value, places) for value in values]


@given(
    rings=st.lists(st.lists(st.tuples(INT32, INT32), max_size=6), max_size=6),
    places=st.integers(0, 9),
    closed=st.booleans(),
    marks=st.tuples(*[st.binary(max_size=4)] * 3),
)
def test_rings_are_their_points(
    rings: list[list[tuple[int, int]]], places: int, closed: bool, marks: tuple[bytes, ...]
) -> None:
    offsets = np.cumsum([0, *map(len, rings)]).astype(np.int64)
    coords = np.array([point for ring in rings for point in ring], np.int32).reshape(-1, 2)
    found = pieces(*ring_texts(coords, offsets, places, *marks, closed=closed))
    opening, between, closing = marks
    for ring, text in zip(rings, found, strict=True):
        points = [*ring, *ring[:1]] if closed else ring
        assert text == b",".join(
            opening + plain(x, places) + between + plain(y, places) + closing for x, y in points
        )


@given(table=st.lists(st.tuples(*[st.binary(max_size=5)] * 3), max_size=8))
def test_weaving_joins_row_by_row(table: list[tuple[bytes, ...]]) -> None:
    columns = []
    for column in zip(*table, strict=True) if table else [(), ()]:
        cuts = np.cumsum([0, *map(len, column)]).astype(np.int64)
        columns.append((np.frombuffer(b"".join(column), np.uint8), cuts[:-1], cuts[1:]))
    assert pieces(*weave(columns)) == [b"".join(row) for row in table]


def test_pieces_outside_their_bytes_are_refused() -> None:
    data, zero, two = np.zeros(1, np.uint8), np.zeros(1, np.int64), np.full(1, 2, np.int64)
    for start, stop in ((zero, two), (two, zero), (-two, zero)):
        with pytest.raises(ValueError, match="outside its bytes"):
            weave([(data, start, stop)])
    with pytest.raises(ValueError, match="starts"):
        weave([(data, zero, zero), (data, np.zeros(2, np.int64), np.zeros(2, np.int64))])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="values"):
        decimal_texts(np.zeros(1, np.int32), 0)
    with pytest.raises(ValueError, match="places"):
        decimal_texts(np.zeros(1, np.int64), 19)
    with pytest.raises(ValueError, match="places"):
        ring_texts(
            np.zeros((0, 2), np.int32), np.zeros(1, np.int64), -1, b"", b"", b"", closed=False
        )
    with pytest.raises(ValueError, match="offsets"):
        ring_texts(
            np.zeros((2, 2), np.int32), np.zeros(1, np.int64), 0, b"", b"", b"", closed=False
        )
