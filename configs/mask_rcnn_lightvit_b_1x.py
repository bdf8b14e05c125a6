"""Mask R-CNN with LightViT-B on COCO, 1x schedule.

tools/dist_train.sh configs/mask_rcnn_lightvit_b_1x.py 8

Published on val2017 (paper, Table 4): box AP 41.7, mask AP 38.8.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='lightvit://base-in1k'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
