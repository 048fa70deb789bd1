"""Resampling against its plain twin, and the region reader against a library made of ctypes."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import resample as twin

from nuhtc.native.tiler import read_region, resample, source_span

ratios = st.one_of(st.floats(0.05, 12), st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]))
places = st.one_of(st.integers(-500, 500), st.integers(2**31 - 50, 2**31 + 50))


def noise(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=1000)
@given(
    ratio=st.tuples(ratios, ratios),
    origin=st.tuples(places, places),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    spare=st.tuples(*[st.integers(0, 3)] * 4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_part_equals_the_twin_and_the_whole(
    ratio: tuple[float, float],
    origin: tuple[int, int],
    size: tuple[int, int],
    spare: tuple[int, int, int, int],
    seed: int,
    data: st.DataObject,
) -> None:
    (left, right), (top, bottom) = (
        source_span(at, at + count, step)
        for at, count, step in zip(origin, size, ratio, strict=True)
    )
    corner = (left - spare[0], top - spare[1])
    source = noise(seed, right + spare[2] - corner[0], bottom + spare[3] - corner[1])
    whole = resample(source, corner, ratio, origin, size)
    assert whole.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(whole, twin.resample(source, corner, ratio, origin, size))
    x = data.draw(st.integers(0, size[0] - 1))
    y = data.draw(st.integers(0, size[1] - 1))
    rest = (size[0] - x, size[1] - y)
    part = resample(source, corner, ratio, (origin[0] + x, origin[1] + y), rest)
    np.testing.assert_array_equal(part, whole[y:, x:])


@given(ratio=ratios, start=places, count=st.integers(1, 40), grey=st.integers(0, 255))
def test_flat_stays_flat(ratio: float, start: int, count: int, grey: int) -> None:
    low, high = source_span(start, start + count, ratio)
    source = np.full((high - low, high - low, 3), grey, np.uint8)
    out = resample(source, (low, low), (ratio, ratio), (start, start), (count, count))
    assert (out == grey).all()


@given(factor=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_whole_ratio_is_the_mean_of_its_pixels(factor: int, seed: int) -> None:
    source = noise(seed, 6 * factor, 5 * factor)
    out = resample(source, (0, 0), (factor, factor), (0, 0), (6, 5))
    mean = source.reshape(5, factor, 6, factor, 3).mean((1, 3))
    # The first of two roundings is to 1/128.
    assert np.abs(out - mean).max() <= 0.5 + 1 / 64


def test_any_memory_layout_is_read() -> None:
    source = noise(0, 40, 40)
    expected = resample(source, (0, 0), (1.5, 1.5), (1, 1), (20, 20))
    wide = np.zeros((80, 80, 3), np.uint8)
    wide[::2, ::2] = source
    strided = wide[::2, ::2]
    strided.flags.writeable = False
    np.testing.assert_array_equal(resample(strided, (0, 0), (1.5, 1.5), (1, 1), (20, 20)), expected)
    assert resample(source, (0, 0), (1.5, 1.5), (1, 1), (0, 7)).shape == (7, 0, 3)
    assert resample(source[:0], (0, 0), (1.5, 1.5), (1, 1), (7, 0)).shape == (0, 7, 3)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"source": "text"}, TypeError, "source"),
        ({"source": np.zeros((9, 9, 3))}, TypeError, "source"),
        ({"source": np.zeros((9, 9), np.uint8)}, ValueError, "source"),
        ({"source": np.zeros((9, 5, 3), np.uint8)}, ValueError, "source must reach"),
        ({"source_origin": (1, 0)}, ValueError, "source must reach"),
        ({"source_origin": (0, 2**50)}, ValueError, "source_origin"),
        ({"ratio": (0.0, 1.0)}, ValueError, r"ratio\[0\]"),
        ({"ratio": (1.0, float("nan"))}, ValueError, r"ratio\[1\]"),
        ({"ratio": (1.0, float("inf"))}, ValueError, r"ratio\[1\]"),
        ({"origin": (0.5, 0)}, TypeError, r"origin\[0\]"),
        ({"size": (-1, 2)}, ValueError, r"size\[0\]"),
    ],
)
def test_wrong_arguments_are_named(
    change: dict[str, object], error: type[Exception], named: str
) -> None:
    good = {
        "source": np.zeros((9, 9, 3), np.uint8),
        "source_origin": (0, 0),
        "ratio": (1.5, 1.5),
        "origin": (0, 0),
        "size": (5, 5),
    }
    resample(**good)
    with pytest.raises(error, match=named):
        resample(**{**good, **change})


READ = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint32),
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_int64,
    ctypes.c_int64,
)
FAIL = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class Library:
    """Stands for libopenslide: gives the pixels it was given."""

    def __init__(self, argb: NDArray[np.uint32], message: bytes | None = None) -> None:
        self.calls: list[tuple[int, ...]] = []

        def read(slide, target, *place) -> None:
            self.calls.append((slide, *place))
            ctypes.memmove(target, argb.ctypes.data, argb.nbytes)

        self._message = ctypes.create_string_buffer(message) if message else None
        error = ctypes.addressof(self._message) if self._message else None
        self._keep = READ(read), FAIL(lambda slide: error)

    @property
    def addresses(self) -> tuple[int, int]:
        one, other = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in self._keep)
        return one, other


@given(seed=st.integers(0, 999), width=st.integers(1, 9), height=st.integers(1, 9))
def test_premultiplied_colours_are_laid_on_white(seed: int, width: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = rng.choice([0, 255, int(rng.integers(1, 255))], (height, width, 1)).astype(np.uint32)
    colour = (rng.random((height, width, 3)) * (alpha + 1)).astype(np.uint32)
    colour = np.minimum(colour, alpha)
    argb = alpha[..., 0] << 24 | colour[..., 0] << 16 | colour[..., 1] << 8 | colour[..., 2]
    argb = np.ascontiguousarray(argb, np.uint32)
    library = Library(argb)
    out = np.zeros((height, width, 3), np.uint8)
    place = (2**31 - 1, -(2**31))
    assert read_region(library.addresses, 77, place, 3, out, np.zeros(100, np.uint32))
    np.testing.assert_array_equal(out, colour + 255 - alpha)
    assert library.calls == [(77, *place, 3, width, height)]


def test_an_error_leaves_the_output_alone() -> None:
    library = Library(np.zeros((4, 5), np.uint32), b"damaged")
    out = np.full((4, 5, 3), 9, np.uint8)
    assert not read_region(library.addresses, 1, (0, 0), 0, out, np.zeros(20, np.uint32))
    assert (out == 9).all()
    empty = np.zeros((0, 5, 3), np.uint8)
    assert read_region(library.addresses, 1, (0, 0), 0, empty, np.zeros(0, np.uint32))
    assert len(library.calls) == 1


def test_a_region_is_never_read_into_wrong_memory() -> None:
    library = Library(np.zeros((4, 5), np.uint32))
    out, scratch = np.zeros((4, 5, 3), np.uint8), np.zeros(20, np.uint32)
    frozen = out.copy()
    frozen.flags.writeable = False
    wrong = [
        ((0, 0), 1, out, scratch[:19], ValueError, "scratch"),
        ((0, 0), 1, out, scratch.astype(np.int32), TypeError, "scratch"),
        ((0, 0), 1, out[:, ::2], scratch, ValueError, "out"),
        ((0, 0), 1, frozen, scratch, ValueError, "out"),
        ((0, 0), 0, out, scratch, ValueError, "slide"),
        ((0.5, 0), 1, out, scratch, TypeError, "place"),
        ((0, 2**60), 1, out, scratch, ValueError, "place"),
    ]
    for place, slide, target, words, error, named in wrong:
        with pytest.raises(error, match=named):
            read_region(library.addresses, slide, place, 0, target, words)
    with pytest.raises(ValueError, match="library"):
        read_region((0, 0), 1, (0, 0), 0, out, scratch)
    assert library.calls == []
