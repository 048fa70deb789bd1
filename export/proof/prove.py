"""Proof of parity: every precision of a bundle held against the network in PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nuhtc.export.proof.example_tiles import Tiles
from nuhtc.export.proof.limits import limits_for
from nuhtc.export.proof.parity import compare
from nuhtc.export.proof.quality import agree, measure
from nuhtc.export.proof.report import PrecisionReport, Report
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.open import open_engine
from nuhtc.training.data.images import AnnotatedSet
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import Preset
from nuhtc.training.network.torch_graphs import torch_engine


def prove_parity(
    network: NuHTC,
    preset: Preset,
    bundle: Bundle,
    tiles: Tiles,
    data: Sequence[AnnotatedSet],
    changed: Mapping[str, float],
) -> Report:
    """Run tiles and data sets through PyTorch and through each precision in ONNX Runtime.

    Parameters
    ----------
    network, preset
        What was exported; the network in evaluation mode, in float32.
    bundle
        What was made of it.
    tiles
        What single outputs and detections are compared on.
    data
        Whose held-out pictures PQ and mPQ are measured on; may be none.
    changed
        Limits other than the defaults, by their names in :class:`nuhtc.export.proof.limits.Limits`.

    Raises
    ------
    DataError
        A picture of the data cannot be read.
    EngineError
        ONNX Runtime cannot run a graph.
    """
    reference_engine = torch_engine(network, preset, bundle.card)
    expected = [reference_engine.run(tile[None])[0] for tile in tiles.rgb]
    reference = {one.name: measure(bundle, reference_engine, one) for one in data}
    reports = {}
    for precision, graphs in bundle.card.precisions.items():
        limits = replace(limits_for(precision, graphs), **changed)
        engine = open_engine(bundle, "cpu", precision=precision)
        found = [engine.run(tile[None])[0] for tile in tiles.rgb]
        reports[precision] = PrecisionReport(
            limits,
            tuple(compare(network, preset, bundle, tiles.rgb, limits, precision)),
            agree(expected, found, preset.tile, bundle.card.detection.mask_threshold),
            {one.name: measure(bundle, engine, one) for one in data},
            sum(bundle.card.files[n].size for n in {graphs.trunk, graphs.heads, graphs.masks}),
        )
    return Report(len(tiles.rgb), tiles.source, reference, reports)
