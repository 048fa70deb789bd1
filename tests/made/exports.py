"""One network and the bundles that export makes of it, for every test that needs a real one."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from places import ROOT
from reference.published import golden_tiles, golden_values, published_file

from nuhtc.export.graphs.half import to_half
from nuhtc.export.graphs.precisions import FLOAT, HALF, INTEGER, Wanted
from nuhtc.export.graphs.quantise import QUANTISED, calibration_feeds, quantise
from nuhtc.export.graphs.trace import store_half
from nuhtc.export.graphs.write_bundle import card_in, write_bundle
from nuhtc.export.proof.example_tiles import example_tiles
from nuhtc.runtime.bundle.card import GRAPHS, DataSource, GraphSet, NucleusClass
from nuhtc.runtime.bundle.load import Bundle, load_bundle
from nuhtc.training.checkpoints import checkpoint
from nuhtc.training.checkpoints.imagenet import load_imagenet
from nuhtc.training.checkpoints.info import CheckpointInfo
from nuhtc.training.checkpoints.open import open_checkpoint
from nuhtc.training.data.classes import PANNUKE
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import LITE0, Preset

INFO = CheckpointInfo(
    preset="lite0",
    classes=(
        NucleusClass("Alpha", (255, 0, 0)),
        NucleusClass("Beta", (0, 255, 0)),
        NucleusClass("Gamma", (1, 2, 3)),
    ),
    data=(DataSource("Made up", "none needed", "nobody"),),
    metrics=(("made-up", (("images", 2), ("pq", 0.5))),),
    steps=7,
)

TRAINED = ROOT / "training" / "models" / "lite0.pt"


@dataclass(frozen=True)
class Exported:
    """A network, and what export made of it."""

    network: NuHTC
    preset: Preset
    info: CheckpointInfo
    checkpoint: Path
    tiles: NDArray[np.uint8]
    """(2, 256, 256, 3)"""
    float32: Bundle
    float16: Bundle


def export_lite0(folder: Path) -> Exported:
    """Export ``lite0`` with ImageNet's backbone and random heads that see objects everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LITE0.build(len(INFO.classes)).eval()
    load_imagenet(network.backbone)
    with torch.no_grad():
        network.rpn.objectness.bias += 4.0  # type: ignore[operator]
        for stage in network.stages:
            stage.classifier.bias[-2] += 3.0  # type: ignore[operator, union-attr, index]
    checkpoint.save(folder / "model.pt", INFO, network.state_dict())
    tiles = example_tiles(LITE0.tile)
    return _export(folder, network, LITE0, INFO, folder / "model.pt", tiles)


def export_trained(folder: Path) -> Exported:
    """Export the model in the package, from its checkpoint: masks as sure as trained ones are."""
    network, preset, info = open_checkpoint(TRAINED)
    return _export(folder, network, preset, info, TRAINED, example_tiles(preset.tile))


def export_published(folder: Path) -> Exported:
    """Export ``swin_t`` with the golden weights, from a file as published; golden tiles."""
    path = published_file(folder / "pannuke.pth")
    network, preset, info = open_checkpoint(path, classes=PANNUKE)
    return _export(folder, network, preset, info, path, golden_tiles(golden_values()))


def _export(
    folder: Path,
    network: NuHTC,
    preset: Preset,
    info: CheckpointInfo,
    path: Path,
    tiles: NDArray[np.uint8],
) -> Exported:
    """Trace once; float16 storage is made from the float32 graphs."""
    logging.disable(logging.WARNING)  # the tracer's thousands of lines, which pytest would keep
    try:
        whole = write_bundle(network, preset, info, folder / "float32", Wanted(storage="float32"))
    finally:
        logging.disable(logging.NOTSET)
    assert whole is not None
    half = folder / "float16"
    half.mkdir()
    for name in FLOAT.values():
        shutil.copy(whole.path(name), half / name)
        store_half(half / name)
    graphs = {"fp32": GraphSet(**FLOAT, storage="float16")}
    (half / "card.json").write_bytes(card_in(preset, info, graphs, half).to_json())
    return Exported(network, preset, info, path, tiles, whole, load_bundle(half))


def every_precision(exported: Exported, folder: Path, *, int8: bool) -> Bundle:
    """A bundle in fp32 and fp16, and in int8 if wanted, made from the float32 graphs."""
    folder.mkdir()
    graphs = {
        "fp32": GraphSet(**FLOAT, storage="float32"),
        "fp16": GraphSet(**HALF, storage="float16"),
    }
    for name in GRAPHS:
        source = exported.float32.graph(name)
        shutil.copy(source, folder / FLOAT[name])
        onnx.save(to_half(onnx.load(source)), folder / HALF[name])
    if int8:
        feeds = calibration_feeds(exported.network, exported.preset, exported.tiles)
        for name in QUANTISED:
            quantise(folder / FLOAT[name], folder / INTEGER[name], feeds[name])
        graphs["int8"] = GraphSet(**INTEGER, storage="int8", calibration="made-up tiles")
    card = card_in(exported.preset, exported.info, graphs, folder)
    (folder / "card.json").write_bytes(card.to_json())
    return load_bundle(folder)
