"""The published network against golden values, stage by stage and end to end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference.outlines import paste
from reference.published import PARITY, state_dict
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nuhtc.native.proposals import watershed_boxes
from nuhtc.training import boxes
from nuhtc.training.cascade import STAGE_STDS, BoxLogits, class_scores
from nuhtc.training.hybrid import Features
from nuhtc.training.inference import TileNuclei, detect, propose
from nuhtc.training.network import NuHTC, TrunkOutput
from nuhtc.training.presets import SWIN_T
from nuhtc.training.published import load_published

pytestmark = pytest.mark.skipif(
    not (PARITY / "golden.npz").exists(), reason="golden values absent: ../shared/parity"
)

IMAGES = (242, 148)
FEATURE_LIMIT = 2e-3
BOX_LIMIT_PX = 0.05
Golden = dict[str, Any]


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


class Differences:
    """The largest difference seen for each golden array."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def close(self, name: str, ours: Tensor, golden: NDArray[np.float32], limit: float) -> None:
        found = ours.numpy()
        assert found.shape == golden.shape
        largest = float(np.abs(found - golden).max())
        self.add(name, largest, limit, f"spread {golden.std():.3g}")
        assert largest <= limit

    def same_set(
        self, name: str, distance: NDArray[np.floating], limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pair up rows and columns one to one; every pair within the limit."""
        assert distance.shape[0] == distance.shape[1]
        ours, golden = linear_sum_assignment(distance)
        largest = float(distance[ours, golden].max(initial=0))
        self.add(name, largest, limit, f"{len(ours)} boxes matched, px")
        assert largest <= limit
        return ours, golden

    def add(self, name: str, value: float, limit: float, note: str) -> None:
        self.rows.append(f"{name:26} {value:10.2e} {limit:9.0e}   {note}")


@pytest.fixture(scope="module")
def differences() -> Iterator[Differences]:
    seen = Differences()
    yield seen
    print("\narray                       largest      limit")
    print("\n".join(seen.rows))


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(PARITY / "golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> NuHTC:
    """The network as a user gets it: through the published file."""
    path: Path = tmp_path_factory.mktemp("published") / "pannuke.pth"
    torch.save({"state_dict": state_dict(), "meta": {"epoch": 200}}, path)
    loaded, _ = load_published(path)
    path.unlink()
    return loaded


@pytest.fixture(scope="module")
def run(network: NuHTC, golden: Golden) -> Run:
    tiles = torch.from_numpy(np.stack([golden[f"image_{n}"] for n in IMAGES]))
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
def detections(network: NuHTC, golden: Golden) -> list[TileNuclei]:
    tiles = torch.from_numpy(np.stack([golden[f"image_{n}"] for n in IMAGES]))
    return detect(network, tiles, SWIN_T.inference)


def test_enlarged_picture(run: Run, golden: Golden, differences: Differences) -> None:
    pixels = run.pictures * run.network.std + run.network.mean
    for n, picture in zip(IMAGES, pixels, strict=True):
        resized = golden[f"resized_{n}"].transpose(2, 0, 1).astype(np.float32)
        differences.close(f"resized_{n}", picture, resized, 1e-4)


def test_backbone_and_pyramid(run: Run, golden: Golden, differences: Differences) -> None:
    p2, p3, p4, p5 = run.pyramid
    for name, ours in {
        "backbone_c5": run.maps[3],
        "fpn_p5": p5,
        "fpn_p4": p4,
        "fpn_p3_sub": p3[:, :, ::4, ::4],
        "fpn_p2_sub": p2[:, :, ::8, ::8],
    }.items():
        differences.close(name, ours, golden[name], FEATURE_LIMIT)


def test_rpn_and_semantic_outputs(run: Run, golden: Golden, differences: Differences) -> None:
    for name, ours in {
        "rpn_cls_p4": run.trunk.rpn_logits[2],
        "rpn_reg_p4": run.trunk.rpn_deltas[2],
        "semantic_logits": run.trunk.foreground,
        "semantic_feat_sub": run.trunk.features.semantic[:, :, ::8, ::8],
    }.items():
        differences.close(name, ours, golden[name], FEATURE_LIMIT)


def test_proposals(run: Run, golden: Golden, differences: Differences) -> None:
    for n, ours in zip(IMAGES, propose(run.network, run.trunk, SWIN_T.inference), strict=True):
        watershed = golden[f"watershed_proposals_{n}"][:, :4]
        count = len(watershed)
        name = f"watershed_proposals_{n}"
        differences.same_set(name, _box_distance(ours[:count], watershed), 0)
        name = f"rpn_proposals_{n}"
        differences.same_set(name, _box_distance(ours[count:], golden[name]), BOX_LIMIT_PX)


def test_proposal_scores(run: Run, golden: Golden, differences: Differences) -> None:
    settings = SWIN_T.inference
    corners, scores, _ = run.network.rpn.candidates(
        run.trunk.rpn_logits, run.trunk.rpn_deltas, settings.proposals_per_level
    )
    for i, n in enumerate(IMAGES):
        wanted = torch.from_numpy(golden[f"rpn_proposals_{n}"])
        nearest = torch.cdist(wanted[:, :4], corners[i], p=torch.inf).argmin(dim=1)
        found = scores[i][nearest]
        differences.close(f"rpn_proposals_{n} score", found, wanted[:, 4].numpy(), 1e-4)


@pytest.mark.parametrize("n", IMAGES)
def test_watershed_on_a_realistic_map(n: int, golden: Golden, differences: Differences) -> None:
    ours = watershed_boxes(golden[f"ws_logits_{n}"], 512, 512)
    differences.same_set(f"ws_boxes_{n}", _box_distance(ours, golden[f"ws_boxes_{n}"]), 0)


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
        differences.close(name, ours, golden[name], FEATURE_LIMIT)


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
        differences.close(name, ours, golden[name], FEATURE_LIMIT)


def test_mask_logits(run: Run, golden: Golden, differences: Differences) -> None:
    with torch.no_grad():
        ours = run.network.masks(run.trunk.features, run.regions)
    differences.close("mask_logits", ours[:, None], golden["mask_logits"], FEATURE_LIMIT)


@pytest.mark.parametrize("i", range(2))
def test_whole_inference(
    i: int, detections: list[TileNuclei], golden: Golden, differences: Differences
) -> None:
    n, nuclei = IMAGES[i], detections[i]
    wanted, labels = golden[f"det_boxes_{n}"], golden[f"det_labels_{n}"]
    distance = _box_distance(nuclei.boxes, wanted)
    # One region may be a nucleus of two classes: boxes pair up within their own class only.
    distance[nuclei.labels[:, None] != labels[None]] = 1e6
    ours, theirs = differences.same_set(f"det_boxes_{n}", distance, BOX_LIMIT_PX)
    score = torch.from_numpy(nuclei.scores[ours])
    differences.close(f"det_boxes_{n} score", score, wanted[theirs, 4], FEATURE_LIMIT)

    masks = np.unpackbits(golden[f"det_masks_packed_{n}"], axis=-1).astype(bool)
    worst, counted = 1.0, 0
    for mine, other in zip(ours, theirs, strict=True):
        if masks[other].sum() < 50:
            continue
        counted += 1
        pasted = paste(nuclei.masks[mine], nuclei.boxes[mine], 256, 256)
        worst = min(worst, (pasted & masks[other]).sum() / (pasted | masks[other]).sum())
    differences.add(f"det_masks_packed_{n}", 1 - worst, 0.02, f"1 - IoU, {counted} masks")
    assert counted > 100
    assert worst >= 0.98


def _box_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest difference of a coordinate, for every pair of boxes."""
    return np.asarray(np.abs(a[:, None, :4].astype(np.float64) - b[None, :, :4]).max(axis=2))
