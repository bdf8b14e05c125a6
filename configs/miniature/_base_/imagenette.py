"""Ten classes of ImageNet at 112 pixels: the recipe of Table 2, shortened.

12 epochs instead of 300, and 64 images per step instead of 1,024. data_root holds
train/CLASS/ and val/CLASS/. Every model trains from random weights.
"""

_base_ = '../../_base_/lightvit_in1k.py'
data_root = 'data/imagenette'
image_size = 112
runner_type = 'lightvit_mm.ClassFolderRunner'

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='lightvit_mm.ClassFolderDataset',
        data_prefix='train',
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='lightvit_mm.ClassFolderDataset',
        data_prefix='val',
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(custom_keys=dict(pos_embed=dict(decay_mult=0.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=12)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1), logger=dict(interval=20))
randomness = dict(seed=0)
