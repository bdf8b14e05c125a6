"""The paper's classifier with LightViT-T: all tokens pooled, a linear layer.

``model = _base_.classifier.small`` makes it LightViT-S.
"""

_base_ = './lightvit.py'

classifier = {
    size: dict(
        backbone=dict(arch=size, drop_path_rate=parts.backbone.drop_path_rate),
        neck=dict(in_channels=parts.neck.in_channels[-1]),
    )
    for size, parts in _base_.lightvit.items()
}
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='lightvit_mm.LightViT',
        out_indices=(2,),
        out_type='raw',
        **classifier['tiny']['backbone'],
    ),
    neck=dict(type='lightvit_mm.LightViTTokenNeck', **classifier['tiny']['neck']),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
