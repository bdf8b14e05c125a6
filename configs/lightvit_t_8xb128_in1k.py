"""LightViT-T on ImageNet, 300 epochs.

tools/dist_train.sh configs/lightvit_t_8xb128_in1k.py 8

Published on the validation set: top-1 78.7, top-5 94.4.
"""

_base_ = './_base_/lightvit_in1k.py'
