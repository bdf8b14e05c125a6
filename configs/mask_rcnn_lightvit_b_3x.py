"""Mask R-CNN with LightViT-B on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/mask_rcnn_lightvit_b_3x.py 8

Published: box AP 45.0, mask AP 41.2 on val2017 (paper, Table 4).
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = './mask_rcnn_lightvit_t_3x.py'

model = _base_.lightvit.base
