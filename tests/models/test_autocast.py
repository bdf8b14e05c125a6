"""Mixed precision against float64: the bounds in docs/reference.md."""

import pytest
import torch

from lightvit_mm import LightViT

# Bounds of ||x - exact|| / ||exact||: of each map, and of all gradients together.
BOUNDS = {
    torch.float32: (2e-6, 2e-6),
    torch.bfloat16: (2e-2, 2e-2),
    torch.float16: (2.5e-3, 1e-2),
}


def outputs_and_gradients(model, image, weights, autocast):
    with torch.autocast('cpu', **autocast):
        outs = model(image)
    loss = sum((out.to(w) * w).sum() for out, w in zip(outs, weights))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return outs, torch.cat([gradient.flatten() for gradient in gradients])


def distance(value, exact):
    return ((value.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(
    'arch',
    ['tiny', *(pytest.param(x, marks=pytest.mark.torture) for x in ('small', 'base'))],
)
def test_it_stays_close_to_float64(arch):
    model = LightViT(arch, drop_path_rate=0.0).eval()
    exact_model = LightViT(arch, drop_path_rate=0.0).eval()
    exact_model.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 64, 72)
    weights = [torch.randn(out.shape, dtype=torch.double) for out in model(image)]
    exact_outs, exact_gradient = outputs_and_gradients(
        exact_model.double(), image.double(), weights, dict(enabled=False)
    )
    for dtype, (bound, gradient_bound) in BOUNDS.items():
        is_full = dtype == torch.float32
        autocast = dict(enabled=False) if is_full else dict(dtype=dtype)
        outs, gradient = outputs_and_gradients(model, image, weights, autocast)
        for out, exact in zip(outs, exact_outs, strict=True):
            assert distance(out, exact) < bound, dtype
        assert distance(gradient, exact_gradient) < gradient_bound, dtype
