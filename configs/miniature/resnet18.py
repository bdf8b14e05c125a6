"""ResNet-18 on ten classes of ImageNet.

tools/train.py configs/miniature/resnet18.py --cfg-options data_root=FOLDER

The paper has no result for it.
Training: 12 epochs, 64 images per step, from random weights.
"""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
