"""The published network's bundle against golden values, stage by stage and end to end.

What a stage makes inside a graph is read from the graph itself, by the weights beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference.exports import Exported
from reference.inside import Arrays, Inside
from reference.published import (
    BOX_LIMIT_PX,
    FEATURE_LIMIT,
    IMAGES,
    Differences,
    Golden,
    box_distance,
    golden_values,
)

from nuhtc.runtime.bundle import Bundle
from nuhtc.runtime.detections import Detections
from nuhtc.runtime.engine import FEATURES, OnnxEngine, propose

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Stored:
    """A bundle, and what its storage costs."""

    bundle: Bundle
    features: float
    """limit on features and logits"""


@pytest.fixture(scope="module")
def golden() -> Golden:
    return golden_values()


@pytest.fixture(scope="module", params=["float32", "float16"])
def stored(request: pytest.FixtureRequest, published: Exported) -> Stored:
    limits = {"float32": FEATURE_LIMIT, "float16": 0.1}
    return Stored(getattr(published, request.param), limits[request.param])


@pytest.fixture(scope="module")
def differences(stored: Stored) -> Iterator[Differences]:
    seen = Differences()
    yield seen
    print(f"\nONNX, weights stored as {stored.bundle.card.storage}", seen.table(), sep="\n")


@pytest.fixture(scope="module")
def trunk(stored: Stored, published: Exported) -> Arrays:
    """What the trunk answers and makes inside for the golden tiles."""
    inside = Inside(stored.bundle.path("trunk.onnx"))
    prefix = "network.pyramid"
    values = {
        "resized": inside.users("network.mean")[0].input[0],
        "backbone_c5": inside.users(f"{prefix}.lateral.3.weight")[0].input[0],
        "fpn_p5": inside.users(f"{prefix}.output.3.weight")[0].output[0],
        "fpn_p4": inside.users(f"{prefix}.output.2.weight")[0].output[0],
        "rpn_cls_p4": inside.users("network.rpn.objectness.weight")[2].output[0],
        "rpn_reg_p4": inside.users("network.rpn.deltas.weight")[2].output[0],
    }
    outputs = [output.name for output in inside.model.graph.output]
    return inside.run({"tiles": published.tiles}, {**{name: name for name in outputs}, **values})


@pytest.fixture(scope="module")
def on_rois(trunk: Arrays, golden: Golden) -> Arrays:
    """Inputs of heads and masks for the golden regions."""
    rois = golden["rois"]
    assert rois[:, 1:].min() >= 0 and rois[:, 1:].max() <= 512
    given = {name: trunk[name] for name in FEATURES}
    return {
        **given,
        "regions": np.ascontiguousarray(rois[:, 1:]),
        "region_tile": rois[:, 0].astype(np.int64),
    }


@pytest.fixture(scope="module")
def answers(stored: Stored, published: Exported) -> list[Detections]:
    return OnnxEngine(stored.bundle).run(published.tiles)


def test_trunk(stored: Stored, trunk: Arrays, golden: Golden, differences: Differences) -> None:
    for n, picture in zip(IMAGES, trunk["resized"], strict=True):
        wanted = golden[f"resized_{n}"].transpose(2, 0, 1).astype(np.float32)
        differences.close(f"resized_{n}", picture, wanted, 1e-4)
    for name, ours in {
        "backbone_c5": trunk["backbone_c5"],
        "fpn_p5": trunk["fpn_p5"],
        "fpn_p4": trunk["fpn_p4"],
        "fpn_p3_sub": trunk["fine8"][:, :, ::4, ::4],
        "fpn_p2_sub": trunk["fine4"][:, :, ::8, ::8],
        "rpn_cls_p4": trunk["rpn_cls_p4"],
        "rpn_reg_p4": trunk["rpn_reg_p4"],
        "semantic_logits": trunk["foreground"][:, None],
        "semantic_feat_sub": trunk["semantic"][:, :, ::8, ::8],
    }.items():
        differences.close(name, ours, golden[name], stored.features)


@pytest.mark.parametrize(("summary", "level"), [("summary16", "fpn_p4"), ("summary32", "fpn_p5")])
def test_summaries_follow_from_golden_maps(
    summary: str,
    level: str,
    stored: Stored,
    trunk: Arrays,
    golden: Golden,
    differences: Differences,
) -> None:
    """NuHTC section 3.3, worked out from the golden maps."""
    maps = golden[level].astype(np.float64)
    cells = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
    unit = cells / np.linalg.norm(cells, axis=2, keepdims=True)
    alike = np.maximum(unit @ unit.transpose(0, 2, 1), 0.965926)
    differences.close(
        f"{summary} (from {level})", trunk[summary], alike @ cells / cells.shape[1], stored.features
    )


def proposals(stored: Stored, trunk: Arrays) -> list[NDArray[np.float32]]:
    given = (trunk[name] for name in ("boxes", "scores", "levels", "foreground"))
    return propose(stored.bundle.card.proposals, *given)


def test_proposals(stored: Stored, trunk: Arrays, golden: Golden, differences: Differences) -> None:
    for i, (n, ours) in enumerate(zip(IMAGES, proposals(stored, trunk), strict=True)):
        watershed, ranked = golden[f"watershed_proposals_{n}"], golden[f"rpn_proposals_{n}"]
        print(n, len(ours), len(watershed), len(ranked))
        count = len(watershed)
        name = f"watershed_proposals_{n}"
        differences.same_set(name, box_distance(ours[:count], watershed), 0)
        name = f"rpn_proposals_{n}"
        differences.same_set(name, box_distance(ours[count:], ranked), BOX_LIMIT_PX)
        nearest = box_distance(ranked, trunk["boxes"][i]).argmin(axis=1)
        found = trunk["scores"][i][nearest]
        differences.close(f"{name} score", found, ranked[:, 4], 1e-4)


@pytest.mark.parametrize("i", range(3))
def test_cascade_stage(
    i: int, stored: Stored, on_rois: Arrays, golden: Golden, differences: Differences
) -> None:
    inside = Inside(stored.bundle.path("heads.onnx"))
    for earlier in range(i):
        # So that this stage starts from the regions given, as in the golden run.
        inside.silence(f"network.stages.{earlier}.deltas.weight")
        inside.silence(f"network.stages.{earlier}.deltas.bias")
    first, _, classifier, deltas = [
        node for node in inside.model.graph.node if node.op_type == "Gemm"
    ][4 * i : 4 * i + 4]
    assert f"network.stages.{i}.deltas.weight" in deltas.input
    pooled = inside.addends(inside.maker(first.input[0]).input[0])
    assert set(pooled) == {"Add", "AveragePool"}
    found = inside.run(
        on_rois,
        {
            "regions": pooled["Add"],
            "logits": classifier.output[0],
            "deltas": deltas.output[0],
            "boxes": "boxes",
        },
    )
    if i == 0:
        few = len(golden["roi_feat_bbox"])
        differences.close(
            "roi_feat_bbox", found["regions"][:few], golden["roi_feat_bbox"], stored.features
        )
    differences.close(f"stage{i}_cls", found["logits"], golden[f"stage{i}_cls"], stored.features)
    differences.close(f"stage{i}_reg", found["deltas"], golden[f"stage{i}_reg"], stored.features)
    if i == 2:
        differences.close("stage2_boxes", found["boxes"], golden["stage2_boxes"], stored.features)


def test_masks(stored: Stored, on_rois: Arrays, golden: Golden, differences: Differences) -> None:
    inside = Inside(stored.bundle.path("masks.onnx"))
    pooled = inside.addends(inside.users("network.mask.convs.0.weight")[0].input[0])
    assert set(pooled) == {"Add", "RoiAlign"}
    logits = inside.maker("masks").input[0]
    found = inside.run(
        on_rois,
        {
            "roi_feat_mask": pooled["Add"],
            "roi_feat_semantic": pooled["RoiAlign"],
            "mask_logits": logits,
            "masks": "masks",
        },
    )
    for name in ("roi_feat_mask", "roi_feat_semantic"):
        few = len(golden[name])
        differences.close(name, found[name][:few], golden[name], stored.features)
    ours = found["mask_logits"][:, None]
    differences.close("mask_logits", ours, golden["mask_logits"], stored.features)
    assert np.abs(found["masks"] - 1 / (1 + np.exp(-found["mask_logits"]))).max() < 1e-6


@pytest.mark.parametrize("i", range(2))
def test_whole_inference(
    i: int, answers: list[Detections], golden: Golden, differences: Differences
) -> None:
    found: Any = answers[i]
    differences.same_nuclei(
        IMAGES[i], golden, found.boxes, found.scores, found.labels, list(found.masks)
    )
