"""Mask R-CNN with LightViT-T on COCO, 3x schedule, multi-scale,
recipe of the authors' released code.

tools/dist_train.sh configs/mask_rcnn_lightvit_t_3x_released.py 8

Published on val2017 (paper, Table 4): box AP 41.5, mask AP 38.4.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x_released.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(backbone=dict(stem_norm_eval=True))
