"""Time the heads beside the same heads with summaries worked out region by region, as published.

    python benchmarks/heads.py [--preset lite0] [--regions 1000] [--graphs FOLDER] [--tiny] [--json]
                               [--repeat N]

Both have the same random weights, from a fixed seed, and their answers are compared. The
published way multiplies each region's coarse map by its similarity to the region's centre cell,
cell by cell, for both coarse maps and every stage; ours picks rows of a table that the trunk
made, whose cost is reported beside it. Times are medians over the repetitions, in PyTorch and,
unless ``--no-onnx``, in ONNX Runtime.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import onnxruntime
import torch
from timing import median_seconds
from torch import Tensor, nn
from torch.nn import functional

from nuhtc.training.network import boxes
from nuhtc.training.network.align import align_regions
from nuhtc.training.network.box_head import STAGE_STDS, class_scores
from nuhtc.training.network.hybrid import MIN_SIMILARITY, Features, similarity_summary
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import PRESETS

INPUTS = ("fine4", "fine8", "map16", "map32", "semantic", "regions")


class Dense(nn.Module):
    """Our heads, given tables of summaries instead of coarse maps."""

    def __init__(self, network: NuHTC) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, fine4: Tensor, fine8: Tensor, s16: Tensor, s32: Tensor, semantic: Tensor, rois: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4) and probabilities (R, C) of regions (R, 5)."""
        return self.network.heads(Features(fine4, fine8, s16, s32, semantic), rois)


class PerRegion(nn.Module):
    """The same heads on one tile, every region cropped map by map and summarised on its own."""

    def __init__(self, network: NuHTC) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, fine4: Tensor, fine8: Tensor, x16: Tensor, x32: Tensor, semantic: Tensor, rois: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4) and probabilities (R, C) of regions (R, 5)."""
        settings = self.network.settings
        height, width = fine4.shape[-2] * 4, fine4.shape[-1] * 4
        if settings.enlarge8:
            fine4 = fine4 + functional.interpolate(fine8, fine4.shape[-2:], mode="bilinear")
        side, sampling = settings.box_semantic_size, settings.box_sampling
        corners, logits = rois[:, 1:], []
        for stage, stds in zip(self.network.stages, STAGE_STDS, strict=True):
            regions = torch.cat([rois[:, :1], corners], dim=1)
            pooled = align_regions(fine4, regions, 4, 7, sampling)
            if not settings.enlarge8:
                pooled = pooled + align_regions(fine8, regions, 8, 7, sampling)
            crop = align_regions(semantic, regions, 4, side, sampling if side == 7 else 0)
            pooled = pooled + functional.avg_pool2d(crop, side // 7)
            for x, stride in ((x16, 16), (x32, 32)):
                pooled = pooled + region_summary(x, corners, stride)[:, :, None, None]
            classes, deltas = stage(pooled)
            corners = boxes.clip(boxes.decode(corners, deltas, stds), width, height)
            logits.append(classes)
        return corners, class_scores((logits[0] + logits[1] + logits[2]) / 3)


def region_summary(x: Tensor, corners: Tensor, stride: int) -> Tensor:
    """Each region's weighted average (R, C) of the map (1, C, H, W), NuHTC section 3.3."""
    height, width = x.shape[-2:]
    column = ((corners[:, 0] + corners[:, 2]) * (0.5 / stride)).floor().clamp(0, width - 1).long()
    row = ((corners[:, 1] + corners[:, 3]) * (0.5 / stride)).floor().clamp(0, height - 1).long()
    centre = x[0, :, row, column].T[:, :, None, None]
    similarity = functional.cosine_similarity(centre, x, dim=1, eps=1e-8)
    return (x * similarity.clamp(min=MIN_SIMILARITY)[:, None]).mean(dim=(2, 3))


def session(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Callable[[], object]:
    """Export a module for these inputs, unless it is there, and return a call of it."""
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                inputs,
                path,
                dynamo=True,
                opset_version=20,
                verbose=False,
                input_names=list(INPUTS),
                external_data=False,
            )
    made = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
    return lambda: made.run(None, given)


def made_inputs(network: NuHTC, side: int, regions: int) -> tuple[Tensor, ...]:
    """Return maps of one tile of ``side`` network-input pixels, and regions in there."""
    channels = network.settings.channels
    maps = [torch.randn(1, channels, side // s, side // s) for s in (4, 8, 16, 32, 4)]
    size = torch.rand(regions, 2) * 12 * network.settings.input_scale + 16
    centre = torch.rand(regions, 2) * side
    corners = torch.cat([centre - size / 2, centre + size / 2], dim=1).clamp(0, side)
    return (*maps, torch.cat([torch.zeros(regions, 1), corners], dim=1))


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    """Time both ways and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="swin_t")
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-onnx", action="store_true", help="PyTorch only; export takes a while")
    parser.add_argument(
        "--graphs", type=Path, help="keep the exported graphs in this folder, and take them from it"
    )
    parser.add_argument("--tiny", action="store_true", help="a small tile, to try the script")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    preset = PRESETS[options.preset]
    network = preset.build(5).eval()
    side = round((128 if options.tiny else preset.tile) * network.settings.input_scale)
    regions = 20 if options.tiny else options.regions
    inputs = made_inputs(network, side, regions)
    tables = tuple(similarity_summary(x) for x in inputs[2:4])
    ours, published = Dense(network), PerRegion(network)
    dense = (*inputs[:2], *tables, *inputs[4:])
    for found, wanted in zip(ours(*dense), published(*inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    repeat = options.repeat
    result: dict[str, Any] = {
        "preset": preset.name,
        "regions": regions,
        "summaries_in_trunk_seconds": median_seconds(
            lambda: [similarity_summary(x) for x in inputs[2:4]], repeat
        ),
        "pytorch": {
            "seconds": median_seconds(lambda: ours(*dense), repeat),
            "per_region_seconds": median_seconds(lambda: published(*inputs), repeat),
        },
    }
    if not options.no_onnx:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.graphs or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            calls = [
                session(
                    module,
                    cast("tuple[Tensor, ...]", given),
                    folder / f"{preset.name}.{regions}.{name}.onnx",
                )
                for name, module, given in (
                    ("ours", ours, dense),
                    ("per_region", published, inputs),
                )
            ]
            result["onnxruntime"] = {
                "seconds": median_seconds(calls[0], repeat),
                "per_region_seconds": median_seconds(calls[1], repeat),
            }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{preset.name}, {regions} regions; ms")
    print(f"summaries, once in the trunk {result['summaries_in_trunk_seconds'] * 1e3:9.1f}")
    for engine in ("pytorch", "onnxruntime"):
        if engine in result:
            a, b = (result[engine][key] * 1e3 for key in ("seconds", "per_region_seconds"))
            print(f"{engine:12} ours {a:9.1f}   per region {b:9.1f}   {b / a:5.1f} x")


if __name__ == "__main__":
    main()
