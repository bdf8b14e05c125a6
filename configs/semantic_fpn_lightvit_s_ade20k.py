"""Semantic FPN with LightViT-S on ADE20K, 80k iterations.

tools/dist_train.sh configs/semantic_fpn_lightvit_s_ade20k.py 8

The paper has no result for it.
"""

_base_ = [
    './_base_/semantic_fpn_lightvit.py',
    './_base_/ade20k.py',
    './_base_/adamw_80k.py',
    'mmseg::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='lightvit://small-in1k')),
    neck=dict(in_channels=[96, 192, 384]),
)
