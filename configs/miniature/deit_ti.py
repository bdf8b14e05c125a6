"""DeiT-Ti on ten classes of ImageNet.

tools/train.py configs/miniature/deit_ti.py --cfg-options data_root=FOLDER

The paper has no result for it.
Training: 12 epochs, 64 images per step, from random weights.
"""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='deit-tiny',
        img_size=112,
        patch_size=16,
        drop_path_rate=0.1,
    ),
    neck=None,
    head=dict(
        _delete_=True,
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=192,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
