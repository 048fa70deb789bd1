"""How far a precision may be from PyTorch before its export fails."""

from dataclasses import dataclass

from nuhtc.runtime.bundle.card import GraphSet


@dataclass(frozen=True)
class Limits:
    """What passes, of one precision.

    The first three are for the largest difference of any single value of a graph; the others
    are for what the whole bundle finds.
    """

    features: float
    """of features and foreground, in standard deviations of the output"""
    boxes: float
    """of boxes, in tile pixels"""
    probabilities: float
    """of scores, class and mask probabilities"""
    agreement: float
    """least F1 of nuclei found by both, of those that either finds in the compared tiles"""
    mask_iou: float
    """least mean mask IoU of the nuclei found by both"""
    pq_loss: float
    """most that PQ may lose on any data set"""


EXACT = Limits(5e-3, 0.05, 5e-3, agreement=0.98, mask_iou=0.99, pq_loss=0.001)
"""float32 throughout."""

ROUNDED = Limits(0.1, 0.25, 0.03, agreement=0.95, mask_iou=0.98, pq_loss=0.002)
"""Weights stored as float16, arithmetic float32: rounding a weight moves it by up to 5e-4 of
itself, and a sum of hundreds of them, layer upon layer, can be off by a few hundredths of a
deviation in one cell."""

HALF = Limits(0.2, 0.5, 0.05, agreement=0.95, mask_iou=0.98, pq_loss=0.002)
"""Arithmetic in float16 rounds every layer's results as well."""

INTEGER = Limits(8.0, 2.0, 0.75, agreement=0.8, mask_iou=0.85, pq_loss=0.01)
"""Arithmetic in int8: single values may be far off, so what counts is what the bundle finds."""


def limits_for(precision: str, graphs: GraphSet) -> Limits:
    """Return the default limits of a precision, given how its weights are stored."""
    if precision == "fp32":
        return EXACT if graphs.storage == "float32" else ROUNDED
    return {"fp16": HALF, "int8": INTEGER}[precision]
