"""Mask R-CNN with LightViT-T on COCO, 1x schedule.

tools/dist_train.sh configs/mask_rcnn_lightvit_t_1x.py 8

Published: box AP 37.8, mask AP 35.9 on val2017 (paper, Table 4).
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]

default_hooks = _base_.hooks
