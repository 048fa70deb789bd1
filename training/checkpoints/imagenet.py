"""Start a backbone from weights learned on ImageNet."""

from collections.abc import Mapping

import timm
from torch import Tensor, nn

from nuhtc.runtime.ground.errors import CheckpointError, TrainingError, first_line
from nuhtc.training.network.backbone import EfficientNetLite0
from nuhtc.training.network.swin import SwinTransformer

SWIN = "swin_tiny_patch4_window7_224"
"""timm's name of the weights that the published network started from (Liu et al. 2021)."""


def load_imagenet(backbone: nn.Module) -> None:
    """Load the ImageNet weights of a backbone.

    EfficientNet-Lite0's come with a package. Swin-T's are downloaded by timm once and then
    found in its cache.

    Raises
    ------
    TrainingError
        The weights cannot be had.
    """
    if isinstance(backbone, EfficientNetLite0):
        backbone.load_imagenet()
    elif isinstance(backbone, SwinTransformer):
        try:
            source = timm.create_model(SWIN, pretrained=True)
        except Exception as error:  # the hub's client raises many kinds, without a common root
            raise TrainingError(
                f"the ImageNet weights {SWIN} cannot be downloaded "
                f"({first_line(error)}); give --init-from "
                "with a checkpoint, or --no-imagenet to start from random weights"
            ) from error
        load_timm_swin(backbone, source.state_dict())
    else:
        raise TrainingError(
            f"no ImageNet weights are known for {type(backbone).__name__}; "
            "give --no-imagenet to start from random ones"
        )


def load_timm_swin(backbone: SwinTransformer, weights: Mapping[str, Tensor]) -> None:
    """Load timm's Swin-T; the four norms on the outputs stay fresh, for timm has none.

    Raises
    ------
    CheckpointError
        A tensor is missing or of another shape.
    """
    wanted = backbone.state_dict()
    loaded = {}
    for name, tensor in wanted.items():
        theirs = _timm_name(name)
        if theirs is None:
            loaded[name] = tensor
            continue
        found = weights.get(theirs)
        if found is None or found.shape != tensor.shape:
            raise CheckpointError(f"the ImageNet weights {SWIN} do not fit: {theirs}")
        loaded[name] = found
    backbone.load_state_dict(loaded)


def _timm_name(name: str) -> str | None:
    """Return Timm's name of one of our tensors; None for those it has not."""
    module, _, rest = name.partition(".")
    if module == "patch":
        return f"patch_embed.proj.{rest}"
    if module == "patch_norm":
        return f"patch_embed.norm.{rest}"
    number, _, rest = rest.partition(".")
    if module == "merges":
        return f"layers.{int(number) + 1}.downsample.{rest}"
    if module == "stages":
        block, _, rest = rest.partition(".")
        rest = rest.replace("attention.position_bias", "attn.relative_position_bias_table")
        rest = rest.replace("attention.position_index", "attn.relative_position_index")
        rest = rest.replace("attention.", "attn.")
        if rest.startswith("fc"):
            rest = f"mlp.{rest}"
        return f"layers.{number}.blocks.{block}.{rest}"
    return None
