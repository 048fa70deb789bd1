"""Box heads of the cascade: three stages, each starting from the boxes of the one before."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGE_STDS = (
    (0.1, 0.1, 0.2, 0.2),
    (0.05, 0.05, 0.1, 0.1),
    (0.033, 0.033, 0.067, 0.067),
)
"""Spread of the box deltas of each stage (Cai and Vasconcelos 2018)."""


class CosineLinear(nn.Module):
    """A linear layer on unit vectors, as Seesaw loss wants it (Wang et al. 2021).

    Weights and inputs are scaled to unit length, inputs then by ``temperature``.
    """

    def __init__(self, inputs: int, outputs: int, temperature: float = 20.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, outputs) of vectors (N, inputs)."""
        weight = self.weight / (self.weight.norm(dim=1, keepdim=True) + 1e-6)
        x = x / (x.norm(dim=1, keepdim=True) + 1e-6) * self.temperature
        return functional.linear(x, weight, self.bias)


class BoxHead(nn.Module):
    """One stage: classes, objectness and box deltas of each region.

    Parameters
    ----------
    channels, size
        Shape of the region features, (channels, size, size).
    hidden
        Width of the two fully connected layers.
    classes
        Number of classes, without background.
    """

    def __init__(self, channels: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * size * size, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.classifier = CosineLinear(hidden, classes + 2)
        self.deltas = nn.Linear(hidden, 4)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, regions: Tensor) -> "BoxLogits":
        """Return logits and deltas of region features (R, channels, size, size)."""
        x = functional.relu(self.fc1(regions.flatten(1)))
        x = functional.relu(self.fc2(x))
        return BoxLogits(self.classifier(x), self.deltas(x))


class BoxLogits(NamedTuple):
    """What one stage says of each region."""

    classes: Tensor
    """float (R, classes + 2); the last two are object and background"""
    deltas: Tensor
    """float (R, 4)"""


def class_scores(logits: Tensor) -> Tensor:
    """Return each class's probability: softmax over the classes times that of being an object.

    Parameters
    ----------
    logits
        float (R, classes + 2).

    Returns
    -------
    Tensor
        float (R, classes). What is missing to 1 is the background's.
    """
    objectness = logits[:, -2:].softmax(dim=1)[:, :1]
    return logits[:, :-2].softmax(dim=1) * objectness
