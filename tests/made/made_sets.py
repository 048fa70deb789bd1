"""Small data sets of known truth, written in each of the layouts that people download."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from made.blobs import random_ellipses
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import io

from nuhtc.runtime.bundle.card import DataSource, NucleusClass
from nuhtc.training.data.classes import CONIC, CONSEP, PANNUKE
from nuhtc.training.data.images import AnnotatedImage, AnnotatedSet

TISSUES = ("Breast", "Colon", "Bile-duct")


@dataclass(frozen=True)
class Truth:
    """One picture, and what a reader must find in it."""

    rgb: NDArray[np.uint8]
    instances: NDArray[np.int32]
    types: NDArray[np.int64]
    tissue: str


class MemorySet:
    """A data set of pictures in memory."""

    path = Path("memory")
    name = "made-up"
    info = DataSource("Made up", "CC0", "nobody")

    def __init__(
        self,
        images: list[AnnotatedImage],
        classes: tuple[NucleusClass, ...] | None,
        mpp: float = 0.25,
    ) -> None:
        self.images = images
        self.classes = classes
        self.mpp = mpp

    def names(self) -> list[str]:
        return [image.name for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        return self.images[index]


def made_truths(classes: int, count: int = 3, height: int = 40, width: int = 48) -> list[Truth]:
    """Return pictures of touching ellipses with classes; the last picture has none."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        amount = 0 if seed == count - 1 else 12
        instances = random_ellipses(seed, height, width, amount, (6.0, 14.0))
        types = rng.integers(0, classes, instances.max() + 1)
        types[0] = 0
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found.append(Truth(rgb, instances, types, TISSUES[seed % 3]))
    return found


def same_nuclei(found: AnnotatedImage, truth: Truth | AnnotatedImage) -> None:
    """Assert that a picture and its nuclei are as they should be, in any numbering."""
    assert found.rgb.dtype == np.uint8 and np.array_equal(found.rgb, truth.rgb)
    assert found.instances.dtype == np.int32
    assert np.array_equal(np.unique(found.instances), np.unique(truth.instances))
    codes = np.unique(found.instances.astype(np.int64) << 32 | truth.instances)
    pairs = np.stack([codes >> 32, codes & (2**32 - 1)])
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1], "one to one"
    assert all((a == 0) == (b == 0) for a, b in pairs.T)
    assert (found.types is None) == (truth.types is None)
    if found.types is not None and truth.types is not None:
        assert len(found.types) == len(truth.types) == len(found) + 1
        assert found.types.dtype == np.int64
        for a, b in pairs[:, pairs[0] > 0].T:
            assert found.types[a] == truth.types[b]


def same_set(found: AnnotatedSet, truths: Sequence[Truth], *, tissues: bool = False) -> None:
    """Assert that a set holds these pictures, in order."""
    assert len(found) == len(found.names()) == len(truths)
    for index, truth in enumerate(truths):
        image = found[index]
        same_nuclei(image, truth)
        assert (image.name, image.mpp) == (found.names()[index], found.mpp)
        assert image.tissue == (truth.tissue if tissues else None)


def scattered(instances: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the same label map with gaps between its numbers."""
    return instances.astype(np.int64) * 7 + 3 * (instances > 0)


def pannuke_arrays(truths: Sequence[Truth]) -> dict[str, NDArray[Any]]:
    """Return a fold's arrays, float64 as downloaded."""
    masks = np.zeros((len(truths), *truths[0].instances.shape, len(PANNUKE) + 1))
    for mask, truth in zip(masks, truths, strict=True):
        raw = scattered(truth.instances)
        for channel in range(len(PANNUKE)):
            mask[..., channel] = np.where(truth.types[truth.instances] == channel, raw, 0)
        mask[..., -1] = truth.instances == 0
    images = np.stack([truth.rgb for truth in truths]).astype(np.float64)
    return {"images": images, "masks": masks, "types": np.array([t.tissue for t in truths])}


def save_arrays(folders: dict[str, Path], arrays: dict[str, NDArray[Any]]) -> None:
    """Save each array as .npy in its folder."""
    for name, array in arrays.items():
        folders[name].mkdir(parents=True, exist_ok=True)
        np.save(folders[name] / f"{name}.npy", array)


def write_pannuke(root: Path, truths: Sequence[Truth]) -> Path:
    """Write one fold, the three files in one folder."""
    save_arrays(dict.fromkeys(("images", "masks", "types"), root), pannuke_arrays(truths))
    return root


def write_pannuke_download(root: Path, fold: int, truths: Sequence[Truth]) -> Path:
    """Write one fold as it is downloaded and unpacked; return its folder."""
    top = root / f"Fold {fold}"
    images, masks = top / "images" / f"fold{fold}", top / "masks" / f"fold{fold}"
    save_arrays({"images": images, "masks": masks, "types": images}, pannuke_arrays(truths))
    return top


def write_pannuke_nuhtc(root: Path, fold: int, truths: Sequence[Truth]) -> Path:
    """Write one fold as NuHTC has it; return the path that names it."""
    images, masks = root / "images" / f"fold{fold}", root / "masks" / f"fold{fold}"
    save_arrays({"images": images, "masks": masks, "types": masks}, pannuke_arrays(truths))
    return root / f"fold{fold}"


def write_conic(root: Path, truths: Sequence[Truth]) -> Path:
    """Write CoNIC's two arrays."""
    labels = np.stack(
        [np.stack([scattered(t.instances), type_map(t)], axis=-1).astype(np.int32) for t in truths]
    )
    images = np.stack([truth.rgb for truth in truths])
    save_arrays({"images": root, "labels": root}, {"images": images, "labels": labels})
    return root


SEVEN = np.array([1, 2, 4, 6])
"""One of CoNSeP's seven types for each of the four classes."""


def write_consep(root: Path, truths: Sequence[Truth], *, as_list: bool = False) -> Path:
    """Write Images and Labels; types as a map, or as a list in the order of the numbers."""
    (root / "Images").mkdir(parents=True)
    (root / "Labels").mkdir()
    for number, truth in enumerate(truths, 1):
        Image.fromarray(truth.rgb).save(root / "Images" / f"train_{number}.png")
        content: dict[str, Any] = {"inst_map": scattered(truth.instances).astype(np.float64)}
        if as_list:
            content["inst_type"] = SEVEN[truth.types[1:]].reshape(-1, 1).astype(np.float64)
        else:
            seven = np.where(truth.instances > 0, SEVEN[truth.types[truth.instances]], 0)
            content["type_map"] = seven.astype(np.float64)
        io.savemat(root / "Labels" / f"train_{number}.mat", content)
    return root


def type_map(truth: Truth) -> NDArray[np.int64]:
    """Return a class for each pixel: 0 for none, 1 for the first."""
    return np.where(truth.instances > 0, truth.types[truth.instances] + 1, 0)


def write_folder(root: Path, truths: Sequence[Truth]) -> Path:
    """Write images and labels without a dataset.json."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number, truth in enumerate(truths, 1):
        Image.fromarray(truth.rgb).save(root / "images" / f"p_{number}.png")
        arrays: dict[str, Any] = {"inst_map": scattered(truth.instances)}
        np.savez(root / "labels" / f"p_{number}.npz", **arrays, type_map=type_map(truth))
    return root


def compressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask as COCO's text."""
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def uncompressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask as COCO's run lengths."""
    flat = mask.ravel(order="F")
    runs = [len(list(run)) for _, run in groupby(flat)]
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def coco_content(
    truths: Sequence[Truth],
    classes: Sequence[NucleusClass],
    encode: Callable[[NDArray[np.bool_]], dict[str, Any]] = compressed,
) -> dict[str, Any]:
    """Return a COCO file's content; ids begin at odd places."""
    annotations = [
        {
            "id": 1000 * picture + number,
            "image_id": 10 + picture,
            "category_id": 5 + 2 * int(truth.types[number]),
            "segmentation": encode(truth.instances == number),
            "iscrowd": 0,
        }
        for picture, truth in enumerate(truths)
        for number in range(1, int(truth.instances.max()) + 1)
    ]
    return {
        "images": [
            {"id": 10 + i, "file_name": f"p_{i}.png", "height": h, "width": w}
            for i, (h, w) in enumerate(truth.instances.shape for truth in truths)
        ],
        "annotations": annotations,
        # Out of order: it is the ids that count.
        "categories": [{"id": 5 + 2 * i, "name": c.name} for i, c in enumerate(classes)][::-1],
    }


def write_coco(file: Path, pictures: Path, truths: Sequence[Truth], content: Any = None) -> Path:
    """Write a COCO JSON and its pictures; return the JSON's path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    for number, truth in enumerate(truths):
        Image.fromarray(truth.rgb).save(pictures / f"p_{number}.png")
    content = coco_content(truths, CONSEP) if content is None else content
    file.write_text(json.dumps(content), "utf-8")
    return file


def write_every_layout(root: Path) -> dict[str, tuple[Path, list[Truth]]]:
    """Write a set in each layout; return where it is and what is in it."""
    five, six, four = (made_truths(len(c)) for c in (PANNUKE, CONIC, CONSEP))
    return {
        "pannuke": (write_pannuke(root / "fold2", five), five),
        "conic": (write_conic(root / "conic", six), six),
        "consep": (write_consep(root / "consep" / "Train", four).parent, four),
        "coco": (write_coco(root / "coco.json", root / "images", four), four),
        "folder": (write_folder(root / "mine", four), four),
    }
