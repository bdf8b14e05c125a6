"""Semantic FPN with LightViT-T on ADE20K.

tools/dist_train.sh configs/semantic_fpn_lightvit_t_ade20k.py 8

The paper has no result for it.
Training: 80,000 iterations on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    './_base_/semantic_fpn_lightvit.py',
    './_base_/ade20k.py',
    './_base_/adamw_80k.py',
    'mmseg::_base_/default_runtime.py',
]

default_hooks = _base_.hooks
