"""Mask R-CNN with LightViT-B on COCO, 3x, multi-scale, recipe of the released code.

tools/dist_train.sh configs/released/mask_rcnn_lightvit_b_3x_released.py 8

Unlike the paper's text, the released code has learning rate 2e-4, weight decay
0.04, drop path 0.1 and frozen BatchNorm.

Published: box AP 45.0, mask AP 41.2 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_3x_released.py'

model = dict(
    backbone=dict(_base_.lightvit.base.backbone, drop_path_rate=0.1),
    neck=_base_.lightvit.base.neck,
)
