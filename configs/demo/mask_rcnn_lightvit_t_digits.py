"""Mask R-CNN with LightViT-T on scenes of handwritten digits: the demo.

`make demo` writes the data, pre-trains the backbone and runs it. It is the COCO
config with smaller images, fewer samples and narrower heads.

The paper has no result for it.
Training: 240 iterations, 4 images per step.
The whole demo took 6 minutes on one two-core machine and 13 on another.
"""

_base_ = [
    '../_base_/mask_rcnn_lightvit.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
]
data_root = 'demo/data/detection/'
classes = tuple('0123456789')
num_iters = 240

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='demo/work_dirs/lightvit_t_digits/epoch_8.pth',
            prefix='backbone.',
        )
    ),
    neck=dict(out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, finest_scale=28),
        mask_roi_extractor=dict(out_channels=128, finest_scale=28),
        bbox_head=dict(num_classes=10, in_channels=128, fc_out_channels=256),
        mask_head=dict(
            num_classes=10, in_channels=128, conv_out_channels=128, num_convs=2
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(max_per_img=200)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(192, 192)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192)),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    batch_sampler=None,
    dataset=dict(
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=10),
)
param_scheduler = dict(
    type='OneCycleLR', eta_max=1e-3, total_steps=num_iters, by_epoch=False
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=num_iters, val_interval=num_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=num_iters),
    **_base_.hooks,
)
log_processor = dict(window_size=10, by_epoch=False)
randomness = dict(seed=0)
