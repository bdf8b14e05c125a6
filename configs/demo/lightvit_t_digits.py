"""LightViT-T as a classifier of handwritten digits: the demo's pre-training.

`make demo` writes the data and runs it.

The paper has no result for it.
Training: 8 epochs, 32 images per step.
The whole demo took 6 minutes on one two-core machine and 13 on another.
"""

_base_ = [
    '../_base_/lightvit_classifier.py',
    'mmpretrain::_base_/default_runtime.py',
]
data_root = 'demo/data/classification/'
max_epochs = 8

data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(head=dict(num_classes=10))

pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root=data_root + 'train', pipeline=pipeline
    ),
)
val_dataloader = dict(
    batch_size=60,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root + 'val', pipeline=pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
)
param_scheduler = dict(
    type='OneCycleLR', eta_max=1e-3, total_steps=max_epochs, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=max_epochs), **_base_.hooks
)
randomness = dict(seed=0)
