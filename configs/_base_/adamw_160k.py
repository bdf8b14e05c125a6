"""Swin's recipe for UPerNet on ADE20K, 160k iterations.

The learning rate is set for 16 images in total. mmengine scales it to the
actual batch size and logs the factor.
"""

_base_ = [
    'mmseg::_base_/schedules/schedule_160k.py',
    './no_decay.py',
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=_base_.no_decay,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=160000, by_epoch=False),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
