"""The paper's recipe for COCO (Section 5.2), 12 epochs.

The learning rate is for a total batch of 16 and is scaled to the actual one;
mmengine logs by how much.
"""

_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            relative_position_bias_table=dict(decay_mult=0.0),
            global_token=dict(decay_mult=0.0),
        ),
    ),
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
