"""The three graphs of a bundle, traced from the network.

``trunk`` takes tiles and gives features, raw RPN boxes and the foreground map; ``heads``
takes features and regions and gives boxes and class probabilities; ``masks`` takes
features and final boxes and gives masks. The mask head costs several times what a box
stage does, so it is a graph of its own, run on the few regions that are nuclei.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nuhtc.runtime.bundle.card import FEATURES, INPUTS, OUTPUTS
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.resize import tile_multiple

OPSET = 20

TRUNK_OUTPUTS = (*OUTPUTS["trunk"], *FEATURES)
REGION_INPUTS = (*FEATURES, *INPUTS["heads"])

HALF_STORAGE_FROM = 256
"""Weight tensors of at least this many elements may be stored as float16."""


class TrunkGraph(nn.Module):
    """Tiles to everything that depends on the tile alone."""

    def __init__(self, network: NuHTC, per_level: int, tile: int) -> None:
        super().__init__()
        self.network = network
        self.per_level = per_level
        self.tile = tile

    def forward(self, tiles: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs TRUNK_OUTPUTS of uint8 tiles (B, H, W, 3)."""
        output = self.network.trunk(self.network.prepare(tiles))
        # The count is for a tile of the preset's size; larger tiles give more, by area.
        share = tiles.shape[1] * tiles.shape[2] // self.tile**2
        boxes, scores, levels = self.network.rpn.candidates(
            output.rpn_logits, output.rpn_deltas, self.per_level * torch.sym_max(1, share)
        )
        return (boxes, scores, levels, output.foreground[:, 0], *output.features)


class HeadsGraph(nn.Module):
    """Features and regions to boxes and class probabilities."""

    def __init__(self, network: NuHTC) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        fine4: Tensor,
        fine8: Tensor,
        summary16: Tensor,
        summary32: Tensor,
        semantic: Tensor,
        regions: Tensor,
        region_tile: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return boxes (R, 4) and probabilities (R, C) of regions (R, 4) in tiles (R,)."""
        features = Features(fine4, fine8, summary16, summary32, semantic)
        return self.network.heads(features, _with_tile(regions, region_tile))


class MasksGraph(nn.Module):
    """Features and final boxes to mask probabilities."""

    def __init__(self, network: NuHTC) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        fine4: Tensor,
        fine8: Tensor,
        summary16: Tensor,
        summary32: Tensor,
        semantic: Tensor,
        regions: Tensor,
        region_tile: Tensor,
    ) -> Tensor:
        """Return mask probabilities (R, 28, 28) of boxes (R, 4) in tiles (R,)."""
        features = Features(fine4, fine8, summary16, summary32, semantic)
        return self.network.masks(features, _with_tile(regions, region_tile)).sigmoid()


def _with_tile(regions: Tensor, region_tile: Tensor) -> Tensor:
    return torch.cat([region_tile.to(regions.dtype)[:, None], regions], dim=1)


def export_graphs(network: NuHTC, folder: Path, *, per_level: int, tile: int) -> None:
    """Write ``trunk.onnx``, ``heads.onnx`` and ``masks.onnx``.

    Batch, tile size (multiples of :func:`tile_multiple`) and number of regions are dynamic.

    Parameters
    ----------
    network
        In evaluation mode.
    folder
        An existing folder.
    per_level
        RPN boxes of each level that the trunk gives for a tile of side ``tile``.
    tile
        Side of a tile in pixels; larger ones give more boxes, by area.
    """
    tiles = torch.zeros(2, tile, tile, 3, dtype=torch.uint8)
    trunk = TrunkGraph(network, per_level, tile)
    with torch.no_grad():
        features = trunk(tiles)[4:]
    batch = torch.export.Dim("batch", min=1, max=4096)
    rows = torch.export.Dim("rows", min=1, max=256)
    columns = torch.export.Dim("columns", min=1, max=256)
    scale = network.settings.input_scale
    side = tile_multiple(scale)
    _export(
        trunk,
        (tiles,),
        folder / "trunk.onnx",
        INPUTS["trunk"],
        TRUNK_OUTPUTS,
        ({0: batch, 1: side * rows, 2: side * columns},),
    )
    regions = torch.tensor([[8.0, 8.0, 40.0, 40.0], [30.0, 20.0, 70.0, 50.0], [0, 0, 20, 20]])
    region_tile = torch.tensor([0, 1, 1])
    count = torch.export.Dim("regions", min=0, max=1 << 20)
    cells = [round(side * scale) // stride for stride in (4, 8)]
    fine4, fine8 = ({0: batch, 2: count * rows, 3: count * columns} for count in cells)
    # How many cells a summary has follows from fine4, but the exporter has no words for it.
    summary16 = {0: batch, 1: torch.export.Dim("cells16", min=4, max=1 << 20)}
    summary32 = {0: batch, 1: torch.export.Dim("cells32", min=1, max=1 << 20)}
    maps = (fine4, fine8, summary16, summary32, fine4)
    for graph, name, outputs in (
        (HeadsGraph(network), "heads.onnx", OUTPUTS["heads"]),
        (MasksGraph(network), "masks.onnx", OUTPUTS["masks"]),
    ):
        _export(
            graph,
            (*features, regions, region_tile),
            folder / name,
            list(REGION_INPUTS),
            outputs,
            (*maps, {0: count}, {0: count}),
        )


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    names: Sequence[str],
    outputs: Sequence[str],
    shapes: Any,
) -> None:
    # The exporter reports its own deprecations and progress; none of it is for our users.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            external_data=False,
            optimize=True,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _strip(model: Any) -> None:
    """Remove what tells of the exporting machine: traces of source files, and doc strings."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for group in (model.graph.value_info, model.graph.input, model.graph.output):
        for value in group:
            del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = ""


def store_half(path: Path) -> None:
    """Store a graph's large weights as float16, half the size; arithmetic stays float32.

    Each weight becomes a float16 tensor and a cast, which engines fold away when they
    load the graph.
    """
    model = onnx.load(path)
    graph = model.graph
    casts = []
    kept = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < HALF_STORAGE_FROM:
            kept.append(tensor)
            continue
        half = f"{tensor.name}.float16"
        kept.append(numpy_helper.from_array(array.astype(np.float16), half))
        casts.append(
            helper.make_node("Cast", [half], [tensor.name], f"{half}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
