"""Mask R-CNN with LightViT-B on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/mask_rcnn_lightvit_b_3x.py 8

Published on val2017 (paper, Table 4): box AP 45.0, mask AP 41.2.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x.py',
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
