"""Mask R-CNN with LightViT-S on COCO, 3x, multi-scale, by the authors' code.

tools/dist_train.sh configs/released/mask_rcnn_lightvit_s_3x_released.py 8

The recipe of the authors' released code, which differs from the paper's text.

Published: box AP 43.2, mask AP 39.9 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_3x_released.py'

model = _base_.lightvit.small
