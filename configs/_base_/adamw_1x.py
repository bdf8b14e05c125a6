"""The paper's recipe for COCO (Section 5.2), 12 epochs.

The learning rate is set for 16 images in total. mmengine scales it to the
actual batch size and logs the factor.
"""

_base_ = [
    'mmdet::_base_/schedules/schedule_1x.py',
    './no_decay.py',
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=_base_.no_decay,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        milestones=[9, 11],
        gamma=0.1,
        begin=0,
        end=12,
    ),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
