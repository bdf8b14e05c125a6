"""Fine-tune Mask R-CNN with LightViT-T on a COCO-format dataset.

tools/train.py configs/finetune_mask_rcnn_lightvit_t.py \
    --cfg-options data_root=FOLDER

FOLDER holds train.json, val.json and the images, in folders of any name. The
runner reads the class names from the JSON files and applies the options
pretrained and image_size. The learning rate is set for 8 images in total and is
scaled to the actual batch size.

The paper has no result for it.
Training: 36 epochs, 2 images per GPU, from the authors' ImageNet weights.
"""

_base_ = './mask_rcnn_lightvit_t_1x.py'
data_root = 'data/finetune'
pretrained = True  # those of the backbone; None: random ones; or a file or address
image_size = None  # shorter side 800, as in the pipelines; an integer changes it
runner_type = 'lightvit_mm.CocoFolderRunner'

val_evaluator = dict(classwise=True)
test_evaluator = val_evaluator

optim_wrapper = dict(
    constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
# Warm-up takes the first epoch. The schedule ends with the training.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=36)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
