"""Mask R-CNN with LightViT-S on COCO, 1x, recipe of the released code.

tools/dist_train.sh configs/released/mask_rcnn_lightvit_s_1x_released.py 8

Unlike the paper's text, the released code has learning rate 2e-4, weight decay
0.04 and frozen BatchNorm. The learning rate drops after epochs 8 and 11.

Published: box AP 40.0, mask AP 37.4 on val2017 (paper, Table 4).
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_1x_released.py'

model = _base_.lightvit.small
