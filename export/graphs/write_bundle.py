"""Write a bundle: graphs, card, digests. It appears whole or not at all."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nuhtc.export.graphs.precisions import FILES, Wanted, write_graphs
from nuhtc.runtime.bundle.archive import is_archive_name, pack_bundle
from nuhtc.runtime.bundle.card import (
    CARD,
    PROOF_FILES,
    Card,
    GraphSet,
    file_digest,
)
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.ground.errors import BundleError, OutputError
from nuhtc.runtime.ground.whole_files import prepare_folder, whole_folder
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset, card_of


def write_bundle(
    network: NuHTC,
    preset: Preset,
    info: CheckpointInfo,
    out: Path,
    wanted: Wanted,
    *,
    tune: Callable[[Bundle], Card] = lambda bundle: bundle.card,
    prove: Callable[[Bundle], Mapping[str, bytes] | None] = lambda bundle: {},
) -> Bundle | None:
    """Export a network and describe it.

    Parameters
    ----------
    network
        In evaluation mode.
    preset, info
        What the network is.
    out
        Where the bundle goes: a folder, or a ``.zip`` file. An older bundle there is replaced,
        anything else is refused.
    wanted
        The precisions it holds.
    tune
        Looks at the finished graphs and gives the card that they get.
    prove
        Looks at the finished bundle before it is put in place: None refuses it, else files to
        put beside the graphs, by name.

    Returns
    -------
    Bundle or None
        None where ``prove`` said no: then ``out`` is as it was before.

    Raises
    ------
    OutputError
        There is something else at ``out``, or it cannot be written.
    """
    check_out(out)
    try:
        with _place(out) as work:
            graphs = write_graphs(network, preset, work, wanted)
            card = card_in(preset, info, graphs, work)
            (work / CARD).write_bytes(card.to_json())
            card = tune(load_bundle(work))
            (work / CARD).write_bytes(card.to_json())
            proof = prove(load_bundle(work))
            if proof is None:
                raise _Refused
            for name, content in proof.items():
                (work / name).write_bytes(content)
            files = {**card.files, **{name: file_digest(work / name) for name in proof}}
            (work / CARD).write_bytes(replace(card, files=files).to_json())
            load_bundle(work)
    except _Refused:
        return None
    return load_bundle(out)


class _Refused(Exception):
    """The proof failed."""


@contextmanager
def _place(out: Path) -> Iterator[Path]:
    """Give a folder to fill, and put it at `out`, packed or as it is, once it is full."""
    if not is_archive_name(out):
        with whole_folder(out) as work:
            yield work
        return
    prepare_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
        yield Path(work)
        pack_bundle(Path(work), out)


def check_out(out: Path) -> None:
    """Refuse to replace what is no bundle.

    Raises
    ------
    OutputError
        There is something else at ``out``.
    """
    if not out.exists():
        return
    if is_archive_name(out):
        try:
            load_bundle(out)
        except BundleError as error:
            raise OutputError(f"{out}: exists and is no bundle; choose another --out") from error
    elif not (out.is_dir() and _replaceable(out)):
        raise OutputError(f"{out}: exists and is no bundle; choose another --out")


def _replaceable(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    known = {CARD, "engines", *FILES, *PROOF_FILES}
    return not names or (CARD in names and names <= known)


def card_in(
    preset: Preset, info: CheckpointInfo, graphs: Mapping[str, GraphSet], folder: Path
) -> Card:
    """Return the card of a network whose graphs lie in ``folder``."""
    files = sorted({name for one in graphs.values() for name in (one.trunk, one.heads, one.masks)})
    return card_of(
        preset,
        info.classes,
        data=info.data,
        metrics={name: dict(values) for name, values in info.metrics},
        precisions=dict(graphs),
        files={name: file_digest(folder / name) for name in files},
    )
