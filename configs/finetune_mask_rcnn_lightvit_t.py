"""Mask R-CNN with LightViT-T, pre-trained on ImageNet, on any COCO data set.

tools/train.py configs/finetune_mask_rcnn_lightvit_t.py \
    --cfg-options data_root=FOLDER

FOLDER holds train.json, val.json and their images in folders of any name; the
runner reads the classes and their number from there. The learning rate is for
8 images and follows the total batch, of 2 on each GPU.
"""

_base_ = './mask_rcnn_lightvit_t_1x.py'
data_root = 'data/finetune'
runner_type = 'lightvit_mm.CocoFolderRunner'

val_evaluator = dict(classwise=True)
test_evaluator = val_evaluator

optim_wrapper = dict(
    constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
# Warm-up in the first epoch, however short. The end is that of the training.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=36)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
