"""Mask R-CNN with LightViT-T on COCO, 1x schedule,
recipe of the authors' released code.

tools/dist_train.sh configs/mask_rcnn_lightvit_t_1x_released.py 8

Published on val2017 (paper, Table 4): box AP 37.8, mask AP 35.9.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/adamw_1x_released.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(backbone=dict(stem_norm_eval=True))
