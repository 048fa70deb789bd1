"""The published network against golden values, stage by stage and end to end."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from reference.published import (
    BOX_LIMIT_PX,
    FEATURE_LIMIT,
    IMAGES,
    PARITY,
    Differences,
    Golden,
    box_distance,
    golden_tiles,
    golden_values,
    published_file,
)
from torch import Tensor

from nuhtc.native.proposals import watershed_boxes
from nuhtc.runtime.engines.cascade import propose
from nuhtc.runtime.engines.engine import Detections
from nuhtc.training.checkpoints.published import load_published
from nuhtc.training.network import boxes
from nuhtc.training.network.box_head import STAGE_STDS, BoxLogits, class_scores
from nuhtc.training.network.hybrid import Features
from nuhtc.training.network.nuhtc import NuHTC, TrunkOutput
from nuhtc.training.network.presets import SWIN_T
from nuhtc.training.network.torch_graphs import TorchGraphs, torch_engine

pytestmark = pytest.mark.skipif(
    not (PARITY / "golden.npz").exists(), reason="golden values absent: ../shared/parity"
)


class Run(NamedTuple):
    """One forward pass over both golden images."""

    network: NuHTC
    pictures: Tensor
    maps: list[Tensor]
    pyramid: list[Tensor]
    trunk: TrunkOutput
    regions: Tensor
    pooled: Tensor
    stages: list[BoxLogits]


@pytest.fixture(scope="module")
def differences() -> Iterator[Differences]:
    seen = Differences()
    yield seen
    print(seen.table())


@pytest.fixture(scope="module")
def golden() -> Golden:
    return golden_values()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> NuHTC:
    """The network as a user gets it: through the published file."""
    path = published_file(tmp_path_factory.mktemp("published") / "pannuke.pth")
    loaded, _ = load_published(path)
    path.unlink()
    return loaded


@pytest.fixture(scope="module")
def run(network: NuHTC, golden: Golden) -> Run:
    tiles = torch.from_numpy(golden_tiles(golden))
    regions = torch.from_numpy(golden["rois"])
    with torch.no_grad():
        pictures = network.prepare(tiles)
        maps = network.backbone(pictures)
        pyramid = network.pyramid(maps)
        trunk = network.trunk(pictures)
        pooled = network.box_features(trunk.features, regions)
        stages = [stage(pooled) for stage in network.stages]
    return Run(network, pictures, maps, pyramid, trunk, regions, pooled, stages)


@pytest.fixture(scope="module")
def detections(network: NuHTC, golden: Golden) -> list[Detections]:
    return torch_engine(network, SWIN_T).run(golden_tiles(golden))


def test_enlarged_picture(run: Run, golden: Golden, differences: Differences) -> None:
    pixels = run.pictures * run.network.std + run.network.mean
    for n, picture in zip(IMAGES, pixels, strict=True):
        resized = golden[f"resized_{n}"].transpose(2, 0, 1).astype(np.float32)
        differences.close(f"resized_{n}", picture.numpy(), resized, 1e-4)


def test_backbone_and_pyramid(run: Run, golden: Golden, differences: Differences) -> None:
    p2, p3, p4, p5 = run.pyramid
    for name, ours in {
        "backbone_c5": run.maps[3],
        "fpn_p5": p5,
        "fpn_p4": p4,
        "fpn_p3_sub": p3[:, :, ::4, ::4],
        "fpn_p2_sub": p2[:, :, ::8, ::8],
    }.items():
        differences.close(name, ours.numpy(), golden[name], FEATURE_LIMIT)


def test_rpn_and_semantic_outputs(run: Run, golden: Golden, differences: Differences) -> None:
    for name, ours in {
        "rpn_cls_p4": run.trunk.rpn_logits[2],
        "rpn_reg_p4": run.trunk.rpn_deltas[2],
        "semantic_logits": run.trunk.foreground,
        "semantic_feat_sub": run.trunk.features.semantic[:, :, ::8, ::8],
    }.items():
        differences.close(name, ours.numpy(), golden[name], FEATURE_LIMIT)


def test_proposals(run: Run, golden: Golden, differences: Differences) -> None:
    trunk = TorchGraphs(run.network, SWIN_T).trunk(golden_tiles(golden))
    found = propose(SWIN_T.proposals, trunk.boxes, trunk.scores, trunk.levels, trunk.foreground)
    for n, ours in zip(IMAGES, found, strict=True):
        watershed = golden[f"watershed_proposals_{n}"][:, :4]
        count = len(watershed)
        name = f"watershed_proposals_{n}"
        differences.same_set(name, box_distance(ours[:count], watershed), 0)
        name = f"rpn_proposals_{n}"
        differences.same_set(name, box_distance(ours[count:], golden[name]), BOX_LIMIT_PX)


def test_proposal_scores(run: Run, golden: Golden, differences: Differences) -> None:
    corners, scores, _ = run.network.rpn.candidates(
        run.trunk.rpn_logits, run.trunk.rpn_deltas, SWIN_T.proposals_per_level
    )
    for i, n in enumerate(IMAGES):
        wanted = torch.from_numpy(golden[f"rpn_proposals_{n}"])
        nearest = torch.cdist(wanted[:, :4], corners[i], p=torch.inf).argmin(dim=1)
        found = scores[i][nearest]
        differences.close(f"rpn_proposals_{n} score", found.numpy(), wanted[:, 4].numpy(), 1e-4)


@pytest.mark.parametrize("n", IMAGES)
def test_watershed_on_a_realistic_map(n: int, golden: Golden, differences: Differences) -> None:
    ours = watershed_boxes(golden[f"ws_logits_{n}"], 512, 512)
    differences.same_set(f"ws_boxes_{n}", box_distance(ours, golden[f"ws_boxes_{n}"]), 0)


def test_region_features(run: Run, golden: Golden, differences: Differences) -> None:
    features: Features = run.trunk.features
    few, fewer = run.regions[:20], run.regions[:10]
    with torch.no_grad():
        found = {
            "roi_feat_bbox": run.network.box_features.fine_and_coarse(features, few),
            "roi_feat_mask": run.network.mask_features.fine_and_coarse(features, fewer),
            "roi_feat_semantic": run.network.mask_features.semantic(features, fewer),
        }
    for name, ours in found.items():
        differences.close(name, ours.numpy(), golden[name], FEATURE_LIMIT)


@pytest.mark.parametrize("i", range(3))
def test_cascade_stage(i: int, run: Run, golden: Golden, differences: Differences) -> None:
    logits, deltas = run.stages[i]
    scores = class_scores(logits)
    background = 1 - scores.sum(dim=1, keepdim=True)
    moved = boxes.clip(boxes.decode(run.regions[:, 1:], deltas, STAGE_STDS[i]), 512, 512)
    for name, ours in {
        f"stage{i}_cls": logits,
        f"stage{i}_reg": deltas,
        f"stage{i}_scores": torch.cat([scores, background], dim=1),
        f"stage{i}_boxes": moved,
    }.items():
        differences.close(name, ours.numpy(), golden[name], FEATURE_LIMIT)


def test_mask_logits(run: Run, golden: Golden, differences: Differences) -> None:
    with torch.no_grad():
        ours = run.network.masks(run.trunk.features, run.regions)
    differences.close("mask_logits", ours[:, None].numpy(), golden["mask_logits"], FEATURE_LIMIT)


@pytest.mark.parametrize("i", range(2))
def test_whole_inference(
    i: int, detections: list[Detections], golden: Golden, differences: Differences
) -> None:
    n, nuclei = IMAGES[i], detections[i]
    differences.same_nuclei(
        n, golden, nuclei.boxes, nuclei.scores, nuclei.labels, list(nuclei.masks)
    )
