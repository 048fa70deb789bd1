"""How a preset is trained: step sizes, averages, augmentation, length."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import nn

from nuhtc.training.augmentation.augment import AugmentSettings
from nuhtc.training.augmentation.augment_published import PublishedAugment
from nuhtc.training.objective.objective import ObjectiveSettings


@dataclass(frozen=True)
class Cosine:
    """The rate falls along a cosine."""

    final: float = 0.02
    """It ends at this share of its peak."""

    def share(self, done: float) -> float:
        """Return the share of the peak when ``done`` of the training, 0 to 1, is over."""
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass(frozen=True)
class Drops:
    """The rate falls to a tenth at given times."""

    at: tuple[float, ...]
    """Shares of the training, 0 to 1."""

    def share(self, done: float) -> float:
        """Return the share of the peak when ``done`` of the training, 0 to 1, is over."""
        return float(0.1 ** sum(done >= time for time in self.at))


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained."""

    steps: int | None = None
    """Batches; None where ``epochs`` says it."""
    epochs: int | None = None
    """Rounds through data as large as the data set."""
    batch: int = 8
    """Tiles of a step, over all processes."""
    learning_rate: float = 6e-4
    schedule: Cosine | Drops = Cosine()
    warmup: int = 200
    """Steps in which the rate rises from nearly zero."""
    weight_decay: float = 0.05
    decay_biases: bool = False
    """Norms and position tables never decay; biases only as published."""
    clip: float | None = 10.0
    """Bound on the gradient's length."""
    ema: float = 0.998
    """Decay of the moving average of the weights; early averages are shorter."""
    frozen: tuple[str, ...] = ()
    """Modules that do not learn at first."""
    frozen_steps: int | None = 0
    """Until this step; None for the whole run."""
    class_aware: bool = False
    """Draw a class, then a picture that has it; else draw pictures, data set by data set."""
    tile: int | None = None
    """Side of the tiles in network-input pixels, cut from the pictures at the network's scale, so
    that they are resampled once; None for the preset's tiles, which the network enlarges."""
    augment: AugmentSettings | PublishedAugment = field(default_factory=AugmentSettings)

    @property
    def tile_augment(self) -> AugmentSettings | PublishedAugment:
        """The augmentation as its tiles need it: corruptions count the network's pixels."""
        if self.tile is None or isinstance(self.augment, AugmentSettings):
            return self.augment
        return replace(self.augment, corrupt_scale=1)


SCHEDULES: dict[str, Cosine | Drops] = {"cosine": Cosine(), "drops": Drops((30 / 200, 160 / 200))}
"""By their names on the command line; the drops are the published epochs 30 and 160 of 200."""

AUGMENTS: dict[str, AugmentSettings | PublishedAugment] = {
    "stain": AugmentSettings(),
    "published": PublishedAugment(),
}
"""By their names on the command line: ours for H&E, and the published one."""

LITE0_RECIPE = Recipe(steps=4000, class_aware=True, tile=320)

PUBLISHED_RECIPE = Recipe(
    epochs=200,
    learning_rate=1e-4,
    schedule=SCHEDULES["drops"],
    warmup=1000,
    decay_biases=True,
    clip=None,
    ema=1 - 2e-4,
    frozen=(
        "backbone.patch",
        "backbone.patch_norm",
        "backbone.stages.0",
        "backbone.merges.0",
        "backbone.norms.0",
    ),
    frozen_steps=15_000,
    class_aware=True,
    augment=AUGMENTS["published"],
)
"""Li et al. 2025, section 4.2, and the configuration that came with it."""


LITE0_OBJECTIVE = ObjectiveSettings(
    # Fewer samples than published: a tile that is trained on has a quarter of the cells.
    rpn_samples=256,
    anchors_inside=False,
    proposals_per_level=500,
    proposals=500,
    proposal_min_side=0.0,
    watershed_opening=1,
    watershed_draws=None,
    stage_low_quality=False,
    stage_samples=256,
    class_mean_over_all=False,
    mask_samples=32,
    mask_weight=1.0,
)


@dataclass(frozen=True)
class Lesson:
    """What a preset is trained towards, and how."""

    objective: ObjectiveSettings
    recipe: Recipe


LESSONS = {
    "lite0": Lesson(LITE0_OBJECTIVE, LITE0_RECIPE),
    "swin_t": Lesson(ObjectiveSettings(), PUBLISHED_RECIPE),
}
"""By the names of the presets."""


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Return the learning rate of a step: linear warm-up, then the schedule."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    if isinstance(recipe.schedule, Cosine):
        done = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    else:
        done = step / steps
    return recipe.learning_rate * recipe.schedule.share(done)


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Return the weights with decay, and those without."""
    with_decay: list[nn.Parameter] = []
    without: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        spared = "norm" in name or "position_bias" in name
        spared |= parameter.ndim <= 1 and not recipe.decay_biases
        (without if spared else with_decay).append(parameter)
    return [
        {"params": with_decay, "weight_decay": recipe.weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]


def frozen_modules(network: nn.Module, step: int, recipe: Recipe) -> Iterator[nn.Module]:
    """Give the modules that do not learn at a step."""
    if recipe.frozen_steps is None or step < recipe.frozen_steps:
        for name in recipe.frozen:
            yield network.get_submodule(name)


def set_training(network: nn.Module, step: int, recipe: Recipe) -> None:
    """Put the network in training mode, but for what is frozen at this step."""
    network.train()
    network.requires_grad_(True)
    for module in frozen_modules(network, step, recipe):
        module.eval()
        module.requires_grad_(False)
