"""Mask R-CNN with LightViT-T on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/mask_rcnn_lightvit_t_3x.py 8

Published: box AP 41.5, mask AP 38.4 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x.py',
    'mmdet::_base_/default_runtime.py',
]

default_hooks = _base_.hooks
