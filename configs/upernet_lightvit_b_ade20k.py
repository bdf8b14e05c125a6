"""UPerNet with LightViT-B on ADE20K.

tools/dist_train.sh configs/upernet_lightvit_b_ade20k.py 8

The paper has no result for it.
Training: 160,000 iterations on 8 GPUs, 2 images per GPU.
"""

_base_ = './upernet_lightvit_t_ade20k.py'

model = _base_.lightvit.base
