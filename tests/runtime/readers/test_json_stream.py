"""A JSON array read in blocks is the array that a parser reads at once."""

import io
import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nuhtc.runtime.readers.json_stream as stream
from nuhtc.runtime.readers.json_outlines import _shapes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text('ab\\"[]{},:é \n'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('k"\\['), inner, max_size=4)
    ),
    max_leaves=12,
)
ELEMENTS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=8)
OTHERS = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in {"features", "elements"}),
    VALUES,
    max_size=3,
)


SIZES = st.sampled_from([2, 7, 40, stream.BLOCK])


def read(text: bytes, size: int = stream.BLOCK) -> tuple[str, list[object]]:
    key, chunks = stream.array_chunks(io.BytesIO(text), size)
    return key, list(chain.from_iterable(chunks))


@given(ELEMENTS, SIZES, st.sampled_from([None, 1]), st.booleans())
def test_a_bare_list(elements: list[object], size: int, indent: int | None, plain: bool) -> None:
    text = json.dumps(elements, indent=indent, ensure_ascii=plain)
    assert read(f"\n {text} \n".encode(), size) == ("", elements)


@given(ELEMENTS, SIZES, OTHERS, OTHERS, st.sampled_from(["features", "elements"]))
def test_the_array_of_an_object(
    elements: list[object], size: int, before: dict, after: dict, key: str
) -> None:
    document = {**before, key: elements, **after}
    assert read(json.dumps(document).encode(), size) == (key, elements)


@given(ELEMENTS.filter(len), SIZES, st.data())
def test_a_list_that_is_cut_is_never_taken_for_whole(
    elements: list[object], size: int, data: st.DataObject
) -> None:
    text = json.dumps(elements).encode()
    place = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(ValueError):
        read(text[:place], size)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"7", b'"features"', b'{"a": {"features": []}}', b"[{}", b"[{} {}]", b"[}]"],
)
def test_what_holds_no_array_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_memory_stays_small_however_long_the_array(tmp_path) -> None:
    """No chunk holds much more than a block."""
    one = {"geometry": {"coordinates": [[[1, 2]] * 24]}}
    text = json.dumps([one] * 30_000).encode()
    _, chunks = stream.array_chunks(io.BytesIO(text))
    counts = [len(chunk) for chunk in chunks]
    assert sum(counts) == 30_000
    assert max(counts) <= 2 * stream.BLOCK // len(json.dumps(one))


def test_shapes_of_rings_that_are_none() -> None:
    square = [[0, 0], [4, 0], [4, 4], [0, 4]]
    found = _shapes(
        [[], [square], [[[1, 1], [2, 2], [1, 1]]], [square, [*square, square[0]]], [[]]]
    )
    assert [None if one is None else one.geom_type for one in found] == [
        *(None, "Polygon", None, "MultiPolygon", None)
    ]
    assert found[1].area == 16
    assert np.array_equal(found[3].bounds, [0, 0, 4, 4])
