"""The recipe of the authors' released code for COCO, 12 epochs."""

_base_ = './adamw_1x.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=0.04))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        type='MultiStepLR',
        by_epoch=True,
        milestones=[8, 11],
        gamma=0.1,
        begin=0,
        end=12,
    ),
]
