"""RTMDet-Ins with LightViT-T on COCO, 300 epochs.

tools/dist_train.sh configs/rtmdet_ins_lightvit_t_300e.py 8

Three things differ from mmdet's RTMDet-Ins-s: the backbone, the learning rate,
which is that of mmdet's RTMDet with Swin, and RGB images, because LightViT was
pre-trained on RGB.

The paper has no result for it.
Training: 300 epochs on 8 GPUs, 32 images per GPU.
"""

_base_ = [
    'mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py',
    './_base_/lightvit.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=_base_.lightvit.tiny.neck,
)

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-5,
        begin=150,
        end=300,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=True, base_batch_size=256)
default_hooks = _base_.hooks
