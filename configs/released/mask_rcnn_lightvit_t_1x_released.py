"""Mask R-CNN with LightViT-T on COCO, 1x, recipe of the released code.

tools/dist_train.sh configs/released/mask_rcnn_lightvit_t_1x_released.py 8

Unlike the paper's text, the released code has learning rate 2e-4, weight decay
0.04 and frozen BatchNorm. The learning rate drops after epochs 8 and 11.

Published: box AP 37.8, mask AP 35.9 on val2017 (paper, Table 4).
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = '../mask_rcnn_lightvit_t_1x.py'

model = dict(backbone=dict(norm_eval=True))
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=0.04))
param_scheduler = _base_.param_scheduler
param_scheduler[1].milestones = [8, 11]
