"""Mask R-CNN with LightViT-S on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/mask_rcnn_lightvit_s_3x.py 8

Published: box AP 43.2, mask AP 39.9 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_3x.py'

model = _base_.lightvit.small
