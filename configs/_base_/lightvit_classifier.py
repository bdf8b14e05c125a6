"""The paper's classifier: LightViT-T, all tokens pooled, a linear layer."""

custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='lightvit_mm.LightViT',
        arch='tiny',
        drop_path_rate=0.1,
        out_indices=(2,),
        out_type='raw',
    ),
    neck=dict(type='lightvit_mm.LightViTTokenNeck', in_channels=256),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
