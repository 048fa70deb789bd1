"""Write a bundle: graphs, card, digests. It appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nuhtc.export.graphs.precisions import FILES, Wanted, write_graphs
from nuhtc.runtime.bundle.archive import pack_bundle
from nuhtc.runtime.bundle.card import (
    PROOF_FILES,
    Card,
    GraphSet,
    file_digest,
)
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.runtime.ground.errors import BundleError, OutputError
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
    """Export a network and card_in it.

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
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out.parent}: cannot be written ({error.strerror})") from error
    try:
        graphs = write_graphs(network, preset, work, wanted)
        card = card_in(preset, info, graphs, work)
        (work / "card.json").write_bytes(card.to_json())
        card = tune(load_bundle(work))
        (work / "card.json").write_bytes(card.to_json())
        proof = prove(load_bundle(work))
        if proof is None:
            return None
        for name, content in proof.items():
            (work / name).write_bytes(content)
        files = {**card.files, **{name: file_digest(work / name) for name in proof}}
        (work / "card.json").write_bytes(replace(card, files=files).to_json())
        load_bundle(work)
        _put(work, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load_bundle(out)


def check_out(out: Path) -> None:
    """Refuse to replace what is no bundle.

    Raises
    ------
    OutputError
        There is something else at ``out``.
    """
    if not out.exists():
        return
    if _is_archive(out):
        try:
            load_bundle(out)
        except BundleError as error:
            raise OutputError(f"{out}: exists and is no bundle; choose another --out") from error
    elif not (out.is_dir() and _replaceable(out)):
        raise OutputError(f"{out}: exists and is no bundle; choose another --out")


def _is_archive(out: Path) -> bool:
    return out.suffix.lower() == ".zip" and not out.is_dir()


def _replaceable(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    known = {"card.json", "engines", *FILES, *PROOF_FILES}
    return not names or ("card.json" in names and names <= known)


def _put(work: Path, out: Path) -> None:
    if _is_archive(out):
        pack_bundle(work, out)
        return
    work.chmod(0o755)
    if out.exists():
        shutil.rmtree(out)
    work.rename(out)


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
