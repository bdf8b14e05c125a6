"""The paper's recipe for ImageNet (Table 2), with LightViT-T.

What Table 2 leaves open follows the authors' released code: each batch gets
either mixup or cutmix, labels are smoothed, crops are bicubic, the learning
rate changes with every iteration, and RandAugment replaces colour jitter.

One thing differs. RandAugment uses timm's increasing operations, as for Swin.
The released code has four more (distort, zoom, blur, skew) and other ranges for
some operations.
"""

_base_ = [
    './lightvit_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)),
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.2),
            dict(type='CutMix', alpha=1.0),
        ]
    ),
)
train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = dict(batch_size=128)

optim_wrapper = dict(
    optimizer=dict(weight_decay=0.04),
    paramwise_cfg=dict(custom_keys=dict(global_token=dict(decay_mult=0.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=20,
        end=300,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=True)
default_hooks = _base_.hooks
