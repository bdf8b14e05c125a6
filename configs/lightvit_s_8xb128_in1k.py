"""LightViT-S on ImageNet-1K.

tools/dist_train.sh configs/lightvit_s_8xb128_in1k.py 8

Published: top-1 80.9 (80.8 in the paper), top-5 95.3 on the validation set
(authors' release).
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = './_base_/lightvit_in1k.py'

model = _base_.classifier.small
