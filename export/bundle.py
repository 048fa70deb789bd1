"""Write a bundle: graphs, card, digests. It appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from nuhtc.export.graphs import export_graphs, store_half
from nuhtc.runtime.bundle import (
    GRAPHS,
    Bundle,
    Card,
    DataSource,
    DetectionSettings,
    GraphSet,
    NucleusClass,
    ProposalSettings,
    file_digest,
    load_bundle,
)
from nuhtc.runtime.errors import OutputError
from nuhtc.training.info import CheckpointInfo
from nuhtc.training.network import NuHTC
from nuhtc.training.presets import Preset

FILES = tuple(f"{name}.onnx" for name in GRAPHS)

RESEARCH = "research use only, following from the licences of the training data"
UNKNOWN = "unknown, since the training data is not stated; ask whoever trained it"


def write_bundle(
    network: NuHTC,
    preset: Preset,
    info: CheckpointInfo,
    folder: Path,
    *,
    storage: str,
    accept: Callable[[Bundle], bool] = lambda bundle: True,
) -> Bundle | None:
    """Export a network and describe it.

    Parameters
    ----------
    network
        In evaluation mode.
    preset, info
        What the network is.
    folder
        Where the bundle goes; an older bundle there is replaced, anything else is refused.
    storage
        ``float16`` or ``float32``: how weights are stored. Arithmetic is float32.
    accept
        Looks at the finished bundle before it is put in place.

    Returns
    -------
    Bundle or None
        None where ``accept`` said no: then ``folder`` is as it was before.

    Raises
    ------
    OutputError
        The folder holds something else, or cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and _replaceable(folder)):
        raise OutputError(f"{folder}: exists and is no bundle; choose another --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder.parent}: cannot be written ({error.strerror})") from error
    try:
        export_graphs(
            network, work, per_level=preset.inference.proposals_per_level, tile=preset.tile
        )
        if storage == "float16":
            for name in GRAPHS:
                store_half(work / f"{name}.onnx")
        card = make_card(preset, info, storage, work)
        (work / "card.json").write_bytes(card.to_json())
        if not accept(load_bundle(work)):
            return None
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load_bundle(folder)


def _replaceable(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or ("card.json" in names and names <= {"card.json", "engines", *FILES})


def make_card(preset: Preset, info: CheckpointInfo, storage: str, folder: Path) -> Card:
    """The card of a network whose graphs lie in ``folder``."""
    inference, network = preset.inference, preset.network
    stated = info.data and all(item.licence != "unknown" for item in info.data)
    return Card(
        name="-".join([preset.name, *(item.name.split()[0].lower() for item in info.data)]),
        preset=preset.name,
        classes=tuple(NucleusClass(c.name, c.color) for c in info.classes),
        mpp=preset.mpp,
        input_scale=network.input_scale,
        tile=preset.tile,
        multiple=32,
        mean=network.mean,
        std=network.std,
        precisions={"fp32": GraphSet(*FILES, storage=storage)},
        proposals=ProposalSettings(
            count=inference.proposals,
            min_side=inference.proposal_min_side,
            nms=inference.proposal_nms,
            watershed_opening=inference.watershed_opening,
        ),
        detection=DetectionSettings(
            score=inference.score,
            nms=inference.nms,
            nms_per_class=inference.nms_per_class,
            count=inference.max_detections,
            mask_threshold=inference.mask_threshold,
        ),
        licence=RESEARCH if stated else UNKNOWN,
        data=tuple(DataSource(item.name, item.licence, item.source) for item in info.data),
        metrics={name: dict(values) for name, values in info.metrics},
        files={name: file_digest(folder / name) for name in FILES},
    )
