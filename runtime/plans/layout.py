"""What a call of a plan needs: shapes, sizes and parts. Arithmetic only, no GPU."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from nuhtc.runtime.bundle.card import FEATURES, GRAPHS, INPUTS, OUTPUTS
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.plan import Binding, Plan


@dataclass(frozen=True)
class Layout:
    """The arrays of the three plans: which stay on the GPU and which travel."""

    plans: Mapping[str, Plan]
    """by graph"""

    @property
    def features(self) -> dict[str, Binding]:
        """What the trunk leaves on the GPU for heads and masks."""
        return {item.name: item for item in self.plans["trunk"].outputs if item.name in FEATURES}

    def inputs(self, graph: str) -> dict[str, Binding]:
        """Return what goes up for a call: all inputs but features."""
        return {i.name: i for i in self.plans[graph].inputs if i.name not in FEATURES}

    def answers(self, graph: str) -> dict[str, Binding]:
        """Return what comes down from a call: all outputs but features."""
        return {o.name: o for o in self.plans[graph].outputs if o.name not in FEATURES}


def check_layout(plans: Mapping[str, Plan]) -> Layout:
    """Make sure that what one plan gives is what the next one takes.

    Raises
    ------
    EngineError
        Features differ, or an array that this runtime needs is missing.
    """
    layout = Layout(plans)
    for graph in GRAPHS:
        inputs, answers = set(layout.inputs(graph)), set(layout.answers(graph))
        if inputs != set(INPUTS[graph]) or answers != set(OUTPUTS[graph]):
            raise EngineError(
                f"{plans[graph].name}: takes {', '.join(layout.inputs(graph))} and gives "
                f"{', '.join(layout.answers(graph))}, not what this nuhtc expects; build it again"
            )
    for graph in ("heads", "masks"):
        for item in plans[graph].inputs:
            if item.name in FEATURES and layout.features.get(item.name) != item:
                raise EngineError(
                    f"{plans[graph].name}: takes {item.name} in another form than "
                    f"{plans['trunk'].name} gives it; build the plans together"
                )
    return layout


def shape_of(binding: Binding, batch: int, regions: int) -> tuple[int, ...]:
    """Return the shape of an array in a call with so many tiles and regions."""
    sides = {"batch": batch, "regions": regions}
    return tuple(sides[side] if isinstance(side, str) else side for side in binding.shape)


def most_bytes(binding: Binding, plan: Plan) -> int:
    """Return the bytes of an array in the largest call that a plan takes."""
    shape = shape_of(binding, plan.batch.most, plan.regions.most)
    return prod(shape) * np.dtype(binding.dtype).itemsize


def parts_of(regions: int, plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Cut regions into calls that a plan takes.

    Yields
    ------
    first, last, size
        Regions ``first`` to ``last`` go in a call of ``size`` regions; where ``size`` is more
        than there are, the rest is filling.
    """
    for first in range(0, regions, plan.regions.most):
        last = min(first + plan.regions.most, regions)
        yield first, last, max(last - first, plan.regions.least)


def check_tiles(shape: tuple[int, ...], plan: Plan, command: str) -> None:
    """Refuse tiles that a plan was not built for.

    Parameters
    ----------
    shape
        Of the tiles, (B, H, W, 3).
    plan
        The trunk's.
    command
        What builds plans.

    Raises
    ------
    EngineError
        Their size or number does not fit.
    """
    batch, height, width, _ = shape
    if (height, width) != (plan.tile, plan.tile):
        raise EngineError(
            f"tiles of {width}x{height} px, and {plan.name} is for {plan.tile}x{plan.tile}; "
            f"choose --tile {plan.tile}, or build plans with: {command} --tensorrt-tile {width}"
        )
    if not plan.batch.least <= batch <= plan.batch.most:
        raise EngineError(
            f"{batch} tiles at a time, and {plan.name} takes {plan.batch.least} to "
            f"{plan.batch.most}; choose another --batch, or build plans with: {command} "
            f"--tensorrt-batch 1,{batch},{batch}"
        )
