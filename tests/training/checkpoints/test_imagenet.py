"""Backbones start from ImageNet weights, or say why they cannot."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from nuhtc.runtime.ground.errors import CheckpointError, TrainingError
from nuhtc.training.checkpoints import imagenet
from nuhtc.training.checkpoints.imagenet import load_imagenet, load_timm_swin
from nuhtc.training.network.backbone import EfficientNetLite0
from nuhtc.training.network.swin import SwinTransformer


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch.manual_seed(1)
    model: Any = timm.create_model(imagenet.SWIN, pretrained=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@torch.no_grad()
def test_swin_answers_as_timm_does(theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create(name: str, *, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        return theirs

    monkeypatch.setattr(imagenet.timm, "create_model", create)
    ours = SwinTransformer().eval()
    load_imagenet(ours)
    assert asked == [(imagenet.SWIN, True)]
    # At 224 pixels the first three maps are made of whole windows, and larger than one;
    # elsewhere the two differ on purpose.
    picture = torch.randn(1, 3, 224, 224)
    x = theirs.patch_embed(picture)
    for layer, norm, found in zip(theirs.layers[:3], ours.norms, ours(picture), strict=False):
        x = layer(x)
        torch.testing.assert_close(found, norm(x).permute(0, 3, 1, 2), rtol=0, atol=1e-4)


def test_every_tensor_of_the_last_stage_is_taken_too(theirs: Any) -> None:
    ours = SwinTransformer()
    load_timm_swin(ours, theirs.state_dict())
    block = theirs.layers[3].blocks[1]
    mine: Any = ours.stages[3][1]
    assert torch.equal(mine.fc2.weight, block.mlp.fc2.weight)
    assert torch.equal(mine.attention.position_bias, block.attn.relative_position_bias_table)


def test_weights_that_do_not_fit_are_refused(theirs: Any) -> None:
    weights = dict(theirs.state_dict())
    del weights["layers.1.downsample.reduction.weight"]
    with pytest.raises(CheckpointError, match=r"layers\.1\.downsample\.reduction\.weight"):
        load_timm_swin(SwinTransformer(), weights)


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *, pretrained: bool) -> Any:
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(imagenet.timm, "create_model", fail)
    with pytest.raises(TrainingError, match=r"no route to host\); give --init-from") as caught:
        load_imagenet(SwinTransformer())
    assert "\n" not in str(caught.value)


def test_an_unknown_backbone_says_so() -> None:
    with pytest.raises(TrainingError, match="--no-imagenet"):
        load_imagenet(nn.Identity())


def test_lite0_starts_from_the_package() -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0()
    before = backbone.body.state_dict()["conv_stem.weight"].clone()
    load_imagenet(backbone)
    assert not torch.equal(before, backbone.body.state_dict()["conv_stem.weight"])
