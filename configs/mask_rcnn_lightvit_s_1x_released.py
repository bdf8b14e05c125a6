"""Mask R-CNN with LightViT-S on COCO, 1x schedule,
recipe of the authors' released code.

tools/dist_train.sh configs/mask_rcnn_lightvit_s_1x_released.py 8

Published on val2017 (paper, Table 4): box AP 40.0, mask AP 37.4.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/adamw_1x_released.py',
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
