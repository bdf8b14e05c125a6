"""The plain LightViT computes what the fast one does."""

import pytest
import torch

from lightvit_mm import LightViT
from lightvit_mm.analysis import benchmark
from lightvit_mm.analysis.plain import PlainLightViT, to_plain


@pytest.mark.parametrize('shape', [(64, 64), (70, 57)])
def test_plain_backbone_has_the_same_outputs_and_gradients(shape):
    backbone = LightViT('tiny').eval()
    plain = to_plain(backbone)
    x = torch.randn(2, 3, *shape)
    expected, outs = backbone(x), plain(x)
    torch.testing.assert_close(outs, expected, rtol=1e-4, atol=1e-4)

    for results in (expected, outs):
        sum(
            (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum()
            for out in results
        ).backward()
    ours = dict(backbone.named_parameters())
    theirs = dict(plain.backbone.named_parameters())
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        gradient = theirs[name].grad
        assert gradient is not parameter.grad
        scale = gradient.abs().max()
        torch.testing.assert_close(
            parameter.grad / scale, gradient / scale, rtol=1e-4, atol=1e-4
        )


def test_plain_classifier_has_the_same_scores():
    pytest.importorskip('mmpretrain')
    model = benchmark.build('lightvit_mm::lightvit_t_8xb128_in1k.py')
    plain = to_plain(model)
    assert isinstance(plain.backbone, PlainLightViT)
    assert isinstance(model.backbone, LightViT)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), rtol=1e-4, atol=1e-4)
