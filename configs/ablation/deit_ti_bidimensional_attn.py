"""DeiT-Ti with LightViT's bi-dimensional attention in each FFN (Section 3.2).

tools/dist_train.sh configs/ablation/deit_ti_bidimensional_attn.py 4

The paper has no result for it.
Training: 300 epochs on 4 GPUs, 256 images per GPU.
"""

_base_ = ['mmpretrain::deit/deit-tiny_4xb256_in1k.py', '../_base_/lightvit.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_mm.with_bidimensional_attention',
        backbone=_base_.model.backbone,
    )
)
default_hooks = _base_.hooks
