"""Mask R-CNN with LightViT-S on COCO, 1x schedule, with FSDP.

tools/dist_train.sh configs/large_scale/mask_rcnn_lightvit_s_1x_fsdp.py 8

Published: box AP 40.0, mask AP 37.4 on val2017 (paper, Table 4), with DDP.
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = ['../mask_rcnn_lightvit_s_1x.py', '../_base_/fsdp.py']
