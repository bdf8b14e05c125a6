"""Mask R-CNN with LightViT-T on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/mask_rcnn_lightvit_t_3x.py 8

Published on val2017 (paper, Table 4): box AP 41.5, mask AP 38.4.
"""

_base_ = [
    './_base_/mask_rcnn_lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x.py',
    'mmdet::_base_/default_runtime.py',
]
