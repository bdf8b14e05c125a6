"""RegNetY-800M on ten classes of ImageNet.

tools/train.py configs/miniature/regnety_800m.py --cfg-options data_root=FOLDER

The paper has no result for it.
Training: 12 epochs, 64 images per step, from random weights.
"""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='regnety_008',
        drop_path_rate=0.1,
        global_pool='',
    ),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=768),
)
