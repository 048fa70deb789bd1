"""Nuclei without a network: traced from known shapes, for whatever reads nuclei."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fakes.oracle import OracleEngine, paint
from made.blobs import random_ellipses

from nuhtc.runtime.bundle.card import (
    Card,
    DataSource,
    DetectionSettings,
    GraphSet,
    NucleusClass,
    ProposalSettings,
)
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.nuclei.candidates import Candidates
from nuhtc.runtime.nuclei.nuclei import Nuclei, place_on_slide
from nuhtc.runtime.pipeline.trace import trace_tile
from nuhtc.runtime.slides.slide import SlideFacts
from nuhtc.runtime.tiles.grid import Grid
from nuhtc.runtime.writers.target import Target

CLASSES = (
    NucleusClass("Other", (240, 200, 0)),
    NucleusClass("Inflammatory", (0, 160, 255)),
    NucleusClass("Epithelial", (255, 40, 40)),
    NucleusClass("Spindle 100% «ε»", (0, 200, 60)),
)


def made_candidates(seed: int = 0, side: int = 512, count: int = 60) -> Candidates:
    """Return up to `count` nuclei found by one tile that covers a square slide."""
    labels = random_ellipses(seed, side, side, count, (8.0, 28.0))
    answer = OracleEngine().run(paint(labels)[None])[0]
    return trace_tile(answer, Grid(side, side, side, 0), 0)


def made_nuclei(seed: int = 0, side: int = 512, count: int = 60, *, scale: float = 1.0) -> Nuclei:
    """Return up to `count` nuclei of a square slide; see `made_candidates`."""
    length = int(np.ceil(side * scale))
    return place_on_slide(
        made_candidates(seed, side, count), scale=scale, width=length, height=length
    )


def made_target(
    folder: Path,
    *,
    stem: str = "a",
    digest: str = "sha256:1",
    mpp: float = 0.5,
    side: int = 512,
    classes: Sequence[NucleusClass] = CLASSES,
) -> Target:
    """Return what writers are told of a slide that one tile covers."""
    return Target(
        folder=folder,
        stem=stem,
        slide=SlideFacts("a.svs", digest, side, side, mpp),
        classes=classes,
        tiles=np.zeros(1, np.int64),
        tile_boxes=np.array([[0, 0, side, side]], np.int64),
        run={"model": {"name": "made"}, "settings": {"min_score": 0.0}, "versions": {}},
    )


def made_card(mpp: float = 0.25, tile: int = 128) -> Card:
    """Return the card of a model that does not exist."""
    return Card(
        name="made",
        preset="lite0",
        classes=CLASSES,
        mpp=mpp,
        input_scale=1.0,
        tile=tile,
        multiple=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        precisions={"fp32": GraphSet("trunk.onnx", "heads.onnx", "masks.onnx", "float32")},
        proposals=ProposalSettings(count=100, min_side=0, nms=0.7, watershed_opening=2),
        detection=DetectionSettings(
            score=0.3, nms=0.5, nms_per_class=False, count=300, mask_threshold=0.5
        ),
        licence="none",
        data=(DataSource("Made up", "for nothing", "nobody"),),
    )


def made_bundle(folder: Path, mpp: float = 0.25, tile: int = 128) -> Bundle:
    """Return a bundle that holds a card and no graphs."""
    return Bundle(folder, made_card(mpp, tile), "sha256:made")
