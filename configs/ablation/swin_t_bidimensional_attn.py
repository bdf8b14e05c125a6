"""Swin-T with LightViT's bi-dimensional attention in each FFN (Section 3.2).

tools/dist_train.sh configs/ablation/swin_t_bidimensional_attn.py 16

The paper has no result for it.
Training: 300 epochs on 16 GPUs, 64 images per GPU.
"""

_base_ = [
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
    '../_base_/lightvit.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_mm.with_bidimensional_attention',
        backbone=_base_.model.backbone,
    )
)
default_hooks = _base_.hooks
