"""LightViT-B on ImageNet-1K.

tools/dist_train.sh configs/lightvit_b_8xb128_in1k.py 8

Published: top-1 82.1, top-5 95.9 on the validation set (authors' release).
Training: 300 epochs on 8 GPUs, 128 images per GPU, mixed precision.
"""

_base_ = './_base_/lightvit_in1k.py'

model = _base_.classifier.base
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
