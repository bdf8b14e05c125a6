"""PVT's recipe for Semantic FPN on ADE20K, 80k iterations.

The learning rate is set for 16 images in total. mmengine scales it to the
actual batch size and logs the factor.
"""

_base_ = 'mmseg::_base_/schedules/schedule_80k.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=80000, by_epoch=False),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
