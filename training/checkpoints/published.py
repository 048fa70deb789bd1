"""Import of published checkpoints: the authors' names and layout to ours.

A published file is ``{"state_dict": ..., "meta": ...}``. Some of what it holds is not
imported: ``ema_*`` (the tensors as they were before averaging), ``conv_res`` (links
mask heads of several stages; there is one mask head), counters of the Seesaw loss, and
tables that follow from sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nuhtc.runtime.bundle.card import is_color
from nuhtc.runtime.ground.errors import CheckpointError
from nuhtc.training.checkpoints.fit import check_fit, refuse_listed
from nuhtc.training.checkpoints.tensors_only import load_tensors
from nuhtc.training.network.nuhtc import NuHTC
from nuhtc.training.network.presets import SWIN_T
from nuhtc.training.network.swin import SwinTransformer

PRESET = SWIN_T
"""The preset that published checkpoints are for."""


@dataclass(frozen=True)
class Published:
    """What a published file holds, under our names."""

    weights: dict[str, Tensor]
    """As in the network's ``state_dict``."""
    class_count: int
    class_names: tuple[str, ...] | None
    """None where the file does not name each of the network's classes."""
    class_colors: tuple[tuple[int, int, int], ...] | None
    """RGB, 0 to 255; None where the file has no such list."""


def load_published(path: Path) -> tuple[NuHTC, Published]:
    """Build the published network with a file's weights, in evaluation mode.

    Parameters
    ----------
    path
        A published checkpoint, ``.pth``.

    Raises
    ------
    CheckpointError
        The file cannot be read, or a tensor is missing, unknown, of another shape or not
        finite; the message lists them under the names that the file uses.
    """
    published = read_published(path)
    return build_published(path, published), published


def build_published(path: Path, published: Published) -> NuHTC:
    """Build the network that a published file is of, in evaluation mode.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown, of another shape or not finite; the message lists them
        under the names that the file uses.
    """
    network = PRESET.build(published.class_count)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    check_fit(path, published.weights, shapes, published_name)
    network.load_state_dict(published.weights)
    return network.eval()


def read_published(path: Path) -> Published:
    """Read a published file without fitting it to a network.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, of another kind, or holds unknown tensors.
    """
    return parse_published(path, load_tensors(path))


def parse_published(path: Path, content: Any) -> Published:
    """Return what the content of a published file is.

    Parameters
    ----------
    path
        Where it is from, for messages.
    content
        From `nuhtc.training.checkpoints.tensors_only.load_tensors`.

    Raises
    ------
    CheckpointError
        It is of another kind, or holds unknown tensors.
    """
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, Mapping):
        raise CheckpointError(
            f"{path}: no checkpoint of nuhtc-train, nor a published one: it has no 'state_dict'"
        )
    taken = {key: value for key, value in tensors.items() if not _ignored(str(key))}
    refuse_listed(
        path,
        {
            "unknown": (str(key) for key in taken if _our_name(str(key)) is None),
            "no tensor": (str(key) for key, value in taken.items() if not _is_dense(value)),
        },
    )
    weights = {}
    for key, value in taken.items():
        if ".downsample." in key:
            value = _blocks_of_neighbours(value)
        weights[str(_our_name(key))] = value.detach().float()
    rows = [w.shape[0] for name, w in weights.items() if name.endswith(".classifier.bias")]
    count = max(1, rows[0] - 2) if rows else 1
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    return Published(weights, count, _names(meta, count), _colors(meta, count))


def _blocks_of_neighbours(x: Tensor) -> Tensor:
    """Return patch-merging weights (..., 4 C) in our order of inputs.

    Published, each channel has its four neighbours side by side, row by row; ours, each
    neighbour has its channels side by side, column by column. The outputs stay the same.
    """
    if x.ndim == 0 or x.shape[-1] % 4:
        return x
    split = x.reshape(*x.shape[:-1], x.shape[-1] // 4, 2, 2)
    return split.movedim(-3, -1).transpose(-3, -2).reshape(x.shape)


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()


# Names. A tensor's name is its module's and its own: "neck.fpn_convs.0.conv" + ".weight".


def _module_names() -> Iterator[tuple[str, str]]:
    """Give the published and our name of every module that holds tensors."""
    yield "backbone.patch_embed.projection", "backbone.patch"
    yield "backbone.patch_embed.norm", "backbone.patch_norm"
    for i, depth in enumerate(SwinTransformer.depths):
        for j in range(depth):
            theirs, ours = f"backbone.stages.{i}.blocks.{j}", f"backbone.stages.{i}.{j}"
            yield f"{theirs}.norm1", f"{ours}.norm1"
            yield f"{theirs}.norm2", f"{ours}.norm2"
            yield f"{theirs}.attn.w_msa", f"{ours}.attention"
            yield f"{theirs}.attn.w_msa.qkv", f"{ours}.attention.qkv"
            yield f"{theirs}.attn.w_msa.proj", f"{ours}.attention.proj"
            yield f"{theirs}.ffn.layers.0.0", f"{ours}.fc1"
            yield f"{theirs}.ffn.layers.1", f"{ours}.fc2"
        if i < len(SwinTransformer.depths) - 1:
            yield f"backbone.stages.{i}.downsample.norm", f"backbone.merges.{i}.norm"
            yield f"backbone.stages.{i}.downsample.reduction", f"backbone.merges.{i}.reduction"
        yield f"backbone.norm{i}", f"backbone.norms.{i}"
    for i in range(4):
        yield f"neck.lateral_convs.{i}.conv", f"pyramid.lateral.{i}"
        yield f"neck.fpn_convs.{i}.conv", f"pyramid.output.{i}"
        yield f"roi_head.semantic_head.lateral_convs.{i}.conv", f"semantic.lateral.{i}"
        yield f"roi_head.semantic_head.convs.{i}.conv", f"semantic.convs.{i}"
        yield f"roi_head.mask_head.0.convs.{i}.conv", f"mask.convs.{i}"
    yield "roi_head.semantic_head.conv_embedding.conv", "semantic.embedding"
    yield "roi_head.semantic_head.conv_logits", "semantic.logits"
    yield "roi_head.mask_head.0.upsample", "mask.upsample"
    yield "roi_head.mask_head.0.conv_logits", "mask.logits"
    yield "rpn_head.rpn_conv", "rpn.conv"
    yield "rpn_head.rpn_cls", "rpn.objectness"
    yield "rpn_head.rpn_reg", "rpn.deltas"
    for i in range(3):
        yield f"roi_head.bbox_head.{i}.shared_fcs.0", f"stages.{i}.fc1"
        yield f"roi_head.bbox_head.{i}.shared_fcs.1", f"stages.{i}.fc2"
        yield f"roi_head.bbox_head.{i}.fc_cls", f"stages.{i}.classifier"
        yield f"roi_head.bbox_head.{i}.fc_reg", f"stages.{i}.deltas"


_OUR_MODULES = dict(_module_names())
_THEIR_MODULES = {ours: theirs for theirs, ours in _OUR_MODULES.items()}
_OUR_LEAVES = {"relative_position_bias_table": "position_bias"}
_THEIR_LEAVES = {ours: theirs for theirs, ours in _OUR_LEAVES.items()}


def _ignored(key: str) -> bool:
    return (
        key.startswith(("ema_", "roi_head.mask_head.0.conv_res."))
        or key.endswith((".relative_position_index", ".loss_cls.cum_samples"))
        or key == "roi_head.kernel"
    )


def _our_name(key: str) -> str | None:
    module, _, leaf = key.rpartition(".")
    ours = _OUR_MODULES.get(module)
    return None if ours is None else f"{ours}.{_OUR_LEAVES.get(leaf, leaf)}"


def published_name(name: str) -> str:
    """Return the name that a published file has for a tensor of ours."""
    module, _, leaf = name.rpartition(".")
    theirs = _THEIR_MODULES.get(module)
    return name if theirs is None else f"{theirs}.{_THEIR_LEAVES.get(leaf, leaf)}"


# What the file says of the classes.


def _names(meta: Mapping[Any, Any], count: int) -> tuple[str, ...] | None:
    names = meta.get("CLASSES")
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, list | tuple) or len(names) != count:
        return None
    if len({str(name) for name in names}) < count:
        return None
    return tuple(names) if all(isinstance(name, str) and name for name in names) else None


def _colors(meta: Mapping[Any, Any], count: int) -> tuple[tuple[int, int, int], ...] | None:
    palette = meta.get("PALETTE")
    if not isinstance(palette, list | tuple) or len(palette) != count:
        return None
    colors = []
    for color in palette:
        if not isinstance(color, list | tuple) or len(color) != 3:
            return None
        if not is_color(color):
            return None
        colors.append((int(color[0]), int(color[1]), int(color[2])))
    return tuple(colors)
