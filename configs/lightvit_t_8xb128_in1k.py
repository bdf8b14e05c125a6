"""LightViT-T on ImageNet-1K.

tools/dist_train.sh configs/lightvit_t_8xb128_in1k.py 8

Published: top-1 78.7, top-5 94.4 on the validation set (authors' release).
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = './_base_/lightvit_in1k.py'
