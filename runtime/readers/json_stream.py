"""The elements of a long JSON array, some thousands at a time, in little memory.

A block of the file is cut after the last element that ends in it. Where elements end follows from
counting brackets outside of strings, which NumPy does for a whole block at once; the parser then
sees complete elements only, so whatever is wrong in them is still found.
"""

import re
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

BLOCK: Final = 1 << 21
"""Bytes read at a time; parsed they take about ten times as much."""

_KEY: Final = re.compile(rb'"(features|elements)"\s*:\s*$')
_LONGEST_KEY: Final = 64
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_SPACE: Final = b" \t\r\n"


def array_chunks(file: IO[bytes], size: int = BLOCK) -> tuple[str, Iterator[list[Any]]]:
    """Return which array a document holds, and its elements.

    Parameters
    ----------
    file
        A bare array, or an object that has one under `features` or `elements`.
    size
        Bytes read at a time.

    Returns
    -------
    str
        The array's key, empty for a bare one.
    Iterator[list[Any]]
        Elements, in the order of the file.

    Raises
    ------
    ValueError
        When the document is no such thing; while the elements are read, when it is damaged.
    """
    key, block = _find_array(file, size)
    return key, _chunks(file, block, size)


class _Brackets:
    """Counts brackets through the blocks of a document."""

    def __init__(self) -> None:
        self._depth, self._in_string, self._escaped = 0, False, False

    def follow(self, block: bytes) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Return for each byte whether it opens (1) or closes (-1), and the depth after it."""
        text = b" " + block[1:] if self._escaped else block
        if b"\\" in text:
            text = _ESCAPE.sub(b"  ", text)
        self._escaped = text.endswith(b"\\")
        raw = np.frombuffer(text, np.uint8)
        # Whether the number of quotes so far is odd; a count that wraps at 256 still says that.
        in_string = (np.cumsum(raw == ord('"'), dtype=np.uint8) + self._in_string) & 1
        self._in_string = bool(in_string[-1])
        # The bit in which [ and { differ, and ] and }, is set.
        either = raw | 32
        step = (either == ord("{")).astype(np.int8) - (either == ord("}"))
        step[in_string == 1] = 0
        depth = np.cumsum(step, dtype=np.int32) + np.int32(self._depth)
        self._depth = int(depth[-1])
        return step, depth


def _find_array(file: IO[bytes], size: int) -> tuple[str, bytes]:
    """Return the array's key, and what was read from its opening bracket on."""
    block = file.read(size)
    while block and not block.strip(_SPACE):
        block = file.read(size)
    block = block.lstrip(_SPACE)
    if block[:1] == b"[":
        return "", block
    brackets, before = _Brackets(), b""
    while block:
        step, depth = brackets.follow(block)
        for place in np.flatnonzero((step == 1) & (depth == 2)).tolist():
            near = (before + block[max(0, place - _LONGEST_KEY) : place])[-_LONGEST_KEY:]
            found = _KEY.search(near)
            if found and block[place] == ord("["):
                return found[1].decode(), block[place:]
        before = (before + block)[-_LONGEST_KEY:]
        block = file.read(size)
    raise ValueError("it has neither features nor elements")


def _chunks(file: IO[bytes], block: bytes, size: int) -> Iterator[list[Any]]:
    brackets, pending = _Brackets(), [b""]
    step, depth = brackets.follow(block)
    # The array's own bracket is no part of its elements.
    block, step, depth = block[1:], step[1:], depth[1:]
    while True:
        ends = np.flatnonzero((step == -1) & (depth == 0))
        if len(ends):
            end = int(ends[0])
            if block[end] != ord("]"):
                raise ValueError("its brackets do not match")
            yield _parsed([*pending, block[:end]])
            return
        closes = np.flatnonzero((step == -1) & (depth == 1))
        if len(closes):
            cut = int(closes[-1]) + 1
            yield _parsed([*pending, block[:cut]])
            pending = [block[cut:]]
        else:
            pending.append(block)
        block = file.read(size)
        if not block:
            raise ValueError("it ends in the middle")
        step, depth = brackets.follow(block)


def _parsed(pieces: list[bytes]) -> list[Any]:
    text = b"".join(pieces).lstrip(_SPACE).removeprefix(b",")
    listed: list[Any] = orjson.loads(b"[%b]" % text)
    return listed
