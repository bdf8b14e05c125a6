"""LightViT-B on ImageNet, 300 epochs, mixed precision.

tools/dist_train.sh configs/lightvit_b_8xb128_in1k.py 8

Published on the validation set: top-1 82.1, top-5 95.9.
"""

_base_ = './_base_/lightvit_in1k.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.3), neck=dict(in_channels=512))
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
