"""LightViT-S on ImageNet, 300 epochs.

tools/dist_train.sh configs/lightvit_s_8xb128_in1k.py 8

Published on the validation set: top-1 80.9 (80.8 in the paper), top-5 95.3.
"""

_base_ = './_base_/lightvit_in1k.py'

model = dict(backbone=dict(arch='small'), neck=dict(in_channels=384))
