"""Mask R-CNN with LightViT-B on COCO, 1x schedule.

tools/dist_train.sh configs/mask_rcnn_lightvit_b_1x.py 8

Published: box AP 41.7, mask AP 38.8 on val2017 (paper, Table 4).
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_1x.py'

model = _base_.lightvit.base
