"""The paper's recipe for COCO (Section 5.2), 36 epochs."""

_base_ = './adamw_1x.py'

train_cfg = dict(max_epochs=36)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        type='MultiStepLR',
        by_epoch=True,
        milestones=[27, 33],
        gamma=0.1,
        begin=0,
        end=36,
    ),
]
