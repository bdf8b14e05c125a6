"""Mask R-CNN with LightViT-S on COCO, 3x, multi-scale, recipe of the released code.

tools/dist_train.sh configs/released/mask_rcnn_lightvit_s_3x_released.py 8

Unlike the paper's text, the released code has learning rate 2e-4, weight decay
0.04 and frozen BatchNorm.

Published: box AP 43.2, mask AP 39.9 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_3x_released.py'

model = _base_.lightvit.small
