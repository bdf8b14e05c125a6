"""Mask R-CNN with the four-stage LightViT-T, 1x schedule (Section 4.1).

tools/dist_train.sh configs/ablation/mask_rcnn_lightvit_t_4_stages_1x.py 8

The neck adds no level because the backbone has four stages. Pre-train with
lightvit_t_4_stages.py, and set the path of the weights with
--cfg-options model.backbone.init_cfg.checkpoint=PATH

Published: box AP 37.5 on val2017.
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = ['../mask_rcnn_lightvit_t_1x.py', './_base_/four_stages.py']

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.four_stages),
        stem_stride=4,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            checkpoint='work_dirs/lightvit_t_4_stages/epoch_300.pth', prefix='backbone.'
        ),
    ),
    neck=dict(in_channels=[32, 64, 128, 256], num_extra_trans_convs=0),
)
