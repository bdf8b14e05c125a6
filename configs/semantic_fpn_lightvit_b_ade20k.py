"""Semantic FPN with LightViT-B on ADE20K, 80k iterations.

tools/dist_train.sh configs/semantic_fpn_lightvit_b_ade20k.py 8

The paper has no result for it.
"""

_base_ = [
    './_base_/semantic_fpn_lightvit.py',
    './_base_/ade20k.py',
    './_base_/adamw_80k.py',
    'mmseg::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='lightvit://base-in1k'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
