"""Mask R-CNN with LightViT-S on COCO, 3x schedule, multi-scale,
recipe of the authors' released code.

tools/dist_train.sh configs/mask_rcnn_lightvit_s_3x_released.py 8

Published on val2017 (paper, Table 4): box AP 43.2, mask AP 39.9.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x_released.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        arch='small',
        stem_norm_eval=True,
        init_cfg=dict(checkpoint='lightvit://small-in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384]),
)
