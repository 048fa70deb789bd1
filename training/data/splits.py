"""Which pictures are held out: never trained on, used for every number reported."""

import os

from nuhtc.training.data.images import AnnotatedSet


def is_validation(dataset: str, name: str) -> bool:
    """Tell whether a picture of a data set is held out.

    CoNSeP: images whose number leaves 3 when divided by 5 (5 of the 27, every kind of
    tissue among them). TNBC: patients 3 and 8, whole. CoNIC: every sixth source picture,
    with all patches of it. Others: every sixth image by name, by a checksum that does not
    depend on which other files are present.
    """
    number = name.rsplit("_", 1)[-1]
    if dataset == "consep" and number.isdecimal():
        return int(number) % 5 == 3
    if dataset == "tnbc":
        return name.split("_")[0] in {"03", "08"}
    if dataset == "conic":
        name = name.rsplit("-", 1)[0]
    return sum(os.fsencode(name)) % 6 == 0


def split(dataset: AnnotatedSet) -> tuple[list[int], list[int]]:
    """Return the numbers of the pictures to train on, and of those held out."""
    train: list[int] = []
    held_out: list[int] = []
    for index, name in enumerate(dataset.names()):
        (held_out if is_validation(dataset.name, name) else train).append(index)
    return train, held_out
