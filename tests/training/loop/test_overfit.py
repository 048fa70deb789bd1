"""Learning works: four real crops are learned by heart."""

import math

import numpy as np
import pytest
import torch
from places import SHARED

from nuhtc.training.augmentation.random_tiles import make_targets
from nuhtc.training.checkpoints.imagenet import load_imagenet
from nuhtc.training.data.images import AnnotatedImage
from nuhtc.training.data.numbering import renumber
from nuhtc.training.data.open import open_set
from nuhtc.training.loop.recipe import LESSONS
from nuhtc.training.network.presets import LITE0
from nuhtc.training.network.torch_graphs import torch_engine
from nuhtc.training.objective.objective import Objective
from nuhtc.training.predictions.validation import summarise, validate

DATA = SHARED / "data" / "consep"
SIDE = 128
STEPS = 150
RATE = 2e-3


def crop(image: AnnotatedImage, x: int, y: int) -> AnnotatedImage:
    window = (slice(y, y + SIDE), slice(x, x + SIDE))
    instances, numbers = renumber(image.instances[window])
    assert image.types is not None
    return AnnotatedImage(image.name, image.rgb[window].copy(), instances, image.types[numbers])


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="data sets absent: ../shared/data")
def test_four_crops_are_learned_by_heart() -> None:
    source = open_set(DATA)
    crops = [crop(source[index], 300, 300) for index in (0, 5, 10, 15)]
    assert sum(map(len, crops)) > 80
    torch.manual_seed(0)
    network = LITE0.build(4)
    load_imagenet(network.backbone)
    objective = Objective(network, LESSONS["lite0"].objective)
    batch = [make_targets(one.rgb, one.instances, one.types) for one in crops]
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    first = last = math.nan
    for step in range(STEPS):
        warm = min(1.0, (step + 1) / 10)
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm * (0.52 + 0.5 * math.cos(math.pi * step / STEPS))
        objective.train()
        losses = objective(batch, torch.Generator().manual_seed(step))
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        last = float(total.detach())
        first = last if step == 0 else first
    assert last < first / 10
    summary = summarise(validate(torch_engine(network.eval(), LITE0), crops, SIDE, 0.5))
    assert summary["pq"] > 0.8, summary
    assert summary["class_accuracy_of_matched"] > 0.95, summary
    assert np.isfinite(summary["sq"])
