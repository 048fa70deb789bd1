"""The published network's bundle against golden values, stage by stage and end to end.

What a stage makes inside a graph is read from the graph itself, by the weights beside it.
Weights stored as float32 meet every tolerance of the golden values' README; as float16 each
stage is close, and the nuclei are nearly all the same.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from made.exports import Exported
from made.inside import Arrays, Inside
from numpy.typing import NDArray
from reference.published import (
    BOX_LIMIT_PX,
    FEATURE_LIMIT,
    IMAGES,
    Differences,
    Golden,
    box_distance,
    golden_values,
    nucleus_distance,
)
from scipy.special import softmax

from nuhtc.export.graphs.trace import (
    REGION_INPUTS,
    TRUNK_OUTPUTS,
    HeadsGraph,
    MasksGraph,
    TrunkGraph,
)
from nuhtc.runtime.bundle.card import FEATURES
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines.cascade import propose
from nuhtc.runtime.engines.engine import Detections
from nuhtc.runtime.engines.open import open_engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


HALF_LIMIT = 0.1
"""On features, where storing weights as float16 rounds them."""
HALF_BOX_PX = 1.0
"""The same, on boxes."""


class Stored(NamedTuple):
    """A bundle, and how far features and boxes may be from golden ones."""

    bundle: Bundle
    limit: float
    boxes: float

    @property
    def exact(self) -> bool:
        """Whether every proposal and nucleus must be the golden one."""
        return self.bundle.card.precisions["fp32"].storage == "float32"


@pytest.fixture(scope="module")
def golden() -> Golden:
    return golden_values()


@pytest.fixture(scope="module", params=["float32", "float16"])
def stored(request: pytest.FixtureRequest, published: Exported) -> Stored:
    limits = {"float32": (FEATURE_LIMIT, FEATURE_LIMIT), "float16": (HALF_LIMIT, HALF_BOX_PX)}
    return Stored(getattr(published, request.param), *limits[request.param])


@pytest.fixture(scope="module")
def differences(stored: Stored) -> Iterator[Differences]:
    seen = Differences()
    yield seen
    storage = stored.bundle.card.precisions["fp32"].storage
    print(f"\nONNX, weights stored as {storage}", seen.table(), sep="\n")


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
    return open_engine(stored.bundle, "cpu").run(published.tiles)


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
        differences.close(name, ours, golden[name], stored.limit)


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
        f"{summary} (from {level})", trunk[summary], alike @ cells / cells.shape[1], stored.limit
    )


def test_proposals(stored: Stored, trunk: Arrays, golden: Golden, differences: Differences) -> None:
    given = (trunk[name] for name in ("boxes", "scores", "levels", "foreground"))
    found = propose(stored.bundle.card.proposals, *given)
    for i, (n, ours) in enumerate(zip(IMAGES, found, strict=True)):
        watershed, ranked = golden[f"watershed_proposals_{n}"], golden[f"rpn_proposals_{n}"]
        parts = {
            f"watershed_proposals_{n}": (ours[: len(watershed)], watershed, 0.0),
            f"rpn_proposals_{n}": (ours[len(watershed) :], ranked, BOX_LIMIT_PX),
        }
        for name, (boxes, wanted, limit) in parts.items():
            distance = box_distance(boxes, wanted)
            if stored.exact:
                differences.same_set(name, distance, limit)
            else:
                differences.nearly_same_set(name, distance, HALF_BOX_PX, 0.9)
        nearest = box_distance(ranked, trunk["boxes"][i]).argmin(axis=1)
        score = trunk["scores"][i][nearest]
        limit = 1e-4 if stored.exact else 1e-2
        differences.close(f"rpn_proposals_{n} score", score, ranked[:, 4], limit)


@pytest.mark.parametrize("i", range(3))
def test_cascade_stage(
    i: int, stored: Stored, on_rois: Arrays, golden: Golden, differences: Differences
) -> None:
    inside = Inside(stored.bundle.path("heads.onnx"))
    for other in {0, 1, 2} - {i}:
        # Only this stage moves boxes, so it starts from the regions given, as in the golden run,
        # and its boxes are the last ones.
        inside.silence(f"network.stages.{other}.deltas.weight")
        inside.silence(f"network.stages.{other}.deltas.bias")
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
            "roi_feat_bbox", found["regions"][:few], golden["roi_feat_bbox"], stored.limit
        )
    for name, ours in {
        f"stage{i}_cls": found["logits"],
        f"stage{i}_reg": found["deltas"],
        f"stage{i}_scores": activated(found["logits"]),
    }.items():
        differences.close(name, ours, golden[name], stored.limit)
    differences.close(f"stage{i}_boxes", found["boxes"], golden[f"stage{i}_boxes"], stored.boxes)


def activated(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the scores of the classes, and the background's, of a stage's logits."""
    classes, objects = softmax(logits[:, :-2], axis=1), softmax(logits[:, -2:], axis=1)
    return np.concatenate([classes * objects[:, :1], objects[:, 1:]], axis=1)


def test_chained_stages_average_their_logits(
    stored: Stored, on_rois: Arrays, published: Exported, differences: Differences
) -> None:
    """What golden values do not hold, heads as a whole: against PyTorch's."""
    given = [torch.from_numpy(on_rois[name]) for name in REGION_INPUTS]
    with torch.no_grad():
        boxes, probabilities = HeadsGraph(published.network)(*given)
    inside = Inside(stored.bundle.path("heads.onnx"))
    found = inside.run(on_rois, {"boxes": "boxes", "probabilities": "probabilities"})
    differences.close("heads boxes (PyTorch)", found["boxes"], boxes.numpy(), stored.boxes)
    ours, wanted = found["probabilities"], probabilities.numpy()
    differences.close("heads scores (PyTorch)", ours, wanted, stored.limit)


def test_masks(stored: Stored, on_rois: Arrays, golden: Golden, differences: Differences) -> None:
    inside = Inside(stored.bundle.path("masks.onnx"))
    pooled = inside.users("network.mask.convs.0.weight")[0].input[0]
    logits = inside.maker("masks").input[0]
    found = inside.run(
        on_rois,
        {
            "regions": pooled,
            "mask_logits": logits,
            "masks": "masks",
        },
    )
    # Both are cropped as one sum of maps, sampled at the same places.
    wanted = golden["roi_feat_mask"] + golden["roi_feat_semantic"]
    few = len(wanted)
    differences.close("roi_feat_mask + semantic", found["regions"][:few], wanted, stored.limit)
    ours = found["mask_logits"][:, None]
    differences.close("mask_logits", ours, golden["mask_logits"], stored.limit)
    assert np.abs(found["masks"] - 1 / (1 + np.exp(-found["mask_logits"]))).max() < 1e-6


@pytest.mark.parametrize("i", range(2))
def test_whole_inference(
    i: int,
    stored: Stored,
    answers: list[Detections],
    golden: Golden,
    differences: Differences,
) -> None:
    n, found = IMAGES[i], answers[i]
    if stored.exact:
        differences.same_nuclei(
            n, golden, found.boxes, found.scores, found.labels, list(found.masks)
        )
        return
    wanted, classes = golden[f"det_boxes_{n}"], golden[f"det_labels_{n}"]
    distance = nucleus_distance(found.boxes, found.labels, wanted, classes)
    differences.nearly_same_set(f"det_boxes_{n}", distance, HALF_BOX_PX, 0.9)


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(3, 256, 256), (1, 512, 512), (1, 96, 320), (2, 32, 32)]
)
def test_graphs_for_any_size_and_batch(
    published: Exported, batch: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(batch + height)
    coarse = rng.integers(0, 256, (batch, height // 8, width // 8, 3), dtype=np.uint8)
    tiles = coarse.repeat(8, axis=1).repeat(8, axis=2)
    preset, network = published.preset, published.network
    x, y, size = rng.uniform(0, 2 * width, 8), rng.uniform(0, 2 * height, 8), rng.uniform(9, 60, 8)
    regions = np.stack([x - size, y - size, x + size, y + size], axis=1).astype(np.float32)
    tile = rng.integers(0, batch, 8)
    graph = TrunkGraph(network, preset.proposals_per_level, preset.tile)
    with torch.no_grad():
        answers = dict(zip(TRUNK_OUTPUTS, graph(torch.from_numpy(tiles)), strict=True))
        given = [answers[name] for name in FEATURES]
        given += [torch.from_numpy(regions), torch.from_numpy(tile)]
        boxes, probabilities = HeadsGraph(network)(*given)
        masks = MasksGraph(network)(*given)
    inputs = dict(zip(REGION_INPUTS, (value.numpy() for value in given), strict=True))
    answers |= {"heads boxes": boxes, "probabilities": probabilities, "masks": masks}
    bundle = published.float32
    found = Inside(bundle.path("trunk.onnx")).run(
        {"tiles": tiles}, {name: name for name in TRUNK_OUTPUTS}
    )
    heads = {"heads boxes": "boxes", "probabilities": "probabilities"}
    found |= Inside(bundle.path("heads.onnx")).run(inputs, heads)
    found |= Inside(bundle.path("masks.onnx")).run(inputs, {"masks": "masks"})
    for name, wanted in answers.items():
        assert found[name].shape == tuple(wanted.shape)
        if name != "boxes":  # ranked by scores, so that equal ones may change places
            assert np.abs(found[name] - wanted.numpy()).max() <= FEATURE_LIMIT
