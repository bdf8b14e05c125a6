"""The networks of the paper's ablations."""

from pathlib import Path

import pytest
import torch

from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

ROOT = Path(__file__).parents[2]
ABLATIONS = [
    path.stem for path in sorted(ROOT.glob('configs/ablation/lightvit_t_*.py'))
]


@pytest.mark.parametrize('name', ABLATIONS)
def test_every_parameter_of_an_ablation_gets_a_gradient(name):
    mmpretrain = pytest.importorskip('mmpretrain')
    cfg = read_config(f'lightvit_mm::ablation/{name}.py')
    cfg.model.backbone.drop_path_rate = 0
    model = build_model(cfg).train()
    samples = [
        mmpretrain.structures.DataSample().set_gt_score(torch.rand(1000))
        for _ in range(2)
    ]
    model(torch.rand(2, 3, 64, 64), samples, mode='loss')['loss'].backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


def test_four_stage_detector_has_five_pyramid_levels():
    pytest.importorskip('mmdet')
    model = build_model(
        read_config('lightvit_mm::ablation/mask_rcnn_lightvit_t_4_stages_1x.py')
    )
    levels = model.extract_feat(torch.rand(1, 3, 128, 192))
    assert [tuple(level.shape) for level in levels] == [
        (1, 256, 128 // stride, 192 // stride) for stride in (4, 8, 16, 32, 64)
    ]
