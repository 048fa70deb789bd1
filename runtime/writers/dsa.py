"""Annotations of the Digital Slide Archive (HistomicsUI): one document per class.

`<stem>.dsa/<number>-<class>.json`, split into `...-2.json` and so on where a document would be
larger than a server takes. Elements are closed polylines; score and probabilities are in `user`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import orjson

from nuhtc.native.text import weave
from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers import columns
from nuhtc.runtime.writers.target import Files, Output, Target, made_folder

SUFFIX: Final = ".dsa"

MOST_BYTES: Final = 500_000_000
"""Bytes per document, about; a server takes 1 GiB."""

_FOOT: Final = b"\n]}\n"


@contextmanager
def open_dsa(target: Target, *, most_bytes: int = MOST_BYTES) -> Iterator[Output]:
    """Write the folder `<stem>.dsa`.

    Parameters
    ----------
    target
        Where and of what.
    most_bytes
        A document that has come to so many bytes is followed by another.

    Yields
    ------
    Output
        Takes the nuclei.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    folder = target.path(SUFFIX)
    with Files() as files:
        files.enter_context(made_folder(folder, files))
        documents = [
            _Document(files, target, folder, number, cls, most_bytes)
            for number, cls in enumerate(target.classes)
        ]

        def write(nuclei: Nuclei) -> None:
            for number, document in enumerate(documents):
                mine = np.flatnonzero(nuclei.label == number)
                if len(mine):
                    document.write(nuclei.take(mine))

        yield Output(write, files.paths)
        for document in documents:
            document.finish()


@dataclass
class _Document:
    """The documents of one class, the last of them open."""

    files: Files
    target: Target
    folder: Path
    number: int
    kind: NucleusClass
    most_bytes: int
    size: int = 0
    part: int = 0

    def __post_init__(self) -> None:
        self.file = self._begin()

    def write(self, nuclei: Nuclei) -> None:
        text = _elements(nuclei, self.target, self.kind)
        if self.size and self.size + len(text) > self.most_bytes:
            self.finish()
            self.file = self._begin()
        # Every element begins with a comma and a new line; the first has no comma.
        self.file.write(text[1:] if self.size == 0 else text)
        self.size += len(text)

    def finish(self) -> None:
        self.file.write(_FOOT)
        self.file.close()

    def _begin(self) -> IO[bytes]:
        self.part, self.size = self.part + 1, 0
        plain = "".join(c if c.isalnum() else "-" for c in self.kind.name)
        part = "" if self.part == 1 else f"-{self.part}"
        final = self.folder / f"{self.number + 1}-{plain[:60]}{part}.json"
        file = self.files.enter_context(self.files.partial(final).open("wb"))
        head = {
            "name": self.kind.name if self.part == 1 else f"{self.kind.name} ({self.part})",
            "description": f"Nuclei of class {self.kind.name}, outlined by nuhtc",
            "attributes": {"slide": vars(self.target.slide), "run": dict(self.target.run)},
        }
        file.write(orjson.dumps(head)[:-1] + b',"elements":[')
        return file


def _elements(nuclei: Nuclei, target: Target, kind: NucleusClass) -> memoryview:
    count, name = len(nuclei), orjson.dumps(kind.name)
    rgb = ", ".join(map(str, kind.color)).encode()
    numbers = [b',"user":{"score":']
    numbers += [
        (b',"probabilities":{' if i == 0 else b",") + orjson.dumps(cls.name) + b":"
        for i, cls in enumerate(target.classes)
    ]
    digest = columns.digests(nuclei, target.slide.digest)
    style = (
        b'","type":"polyline","closed":true,"holes":[],"lineColor":"rgb(' + rgb + b')",'
        b'"fillColor":"rgba(' + rgb + b', 0.2)","lineWidth":2,"label":{"value":' + name + b"},"
        b'"group":' + name + b',"points":['
    )
    woven, _ = weave(
        [
            columns.fixed(b',\n{"id":"', count),
            columns.hexadecimal(digest, 24),
            columns.fixed(style, count),
            columns.rings(nuclei, b"[", b",", b",0]", closed=False),
            columns.fixed(b"]", count),
            *columns.numbers(nuclei, numbers),
            columns.fixed(b'},"area_um2":', count),
            columns.areas_um2(nuclei, target.slide.mpp),
            columns.fixed(b"}}", count),
        ]
    )
    return woven.data
