"""Mask R-CNN with LightViT-S on COCO, 1x schedule.

tools/dist_train.sh configs/mask_rcnn_lightvit_s_1x.py 8

Published: box AP 40.0, mask AP 37.4 on val2017 (paper, Table 4).
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_1x.py'

model = _base_.lightvit.small
