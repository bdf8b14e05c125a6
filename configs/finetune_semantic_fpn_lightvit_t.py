"""Fine-tune Semantic FPN with LightViT-T on images and masks.

tools/train.py configs/finetune_semantic_fpn_lightvit_t.py \
    --cfg-options data_root=FOLDER

FOLDER holds img_dir/{train,val}, ann_dir/{train,val} and classes.txt. The
runner reads the class names from classes.txt and applies the options pretrained
and image_size. The learning rate is set for 16 images in total and is scaled to
the actual batch size.

The paper has no result for it.
Training: 8,000 iterations, 8 images per GPU, from the authors' ImageNet weights.
"""

_base_ = './semantic_fpn_lightvit_t_ade20k.py'
data_root = 'data/finetune'
pretrained = True  # those of the backbone; None: random ones; or a file or address
image_size = None  # 512, as in the pipelines; an integer changes all of them
runner_type = 'lightvit_mm.MaskFolderRunner'
interval = 800

# ADE20K's pipelines ignore mask value 0; here classes.txt names the values.
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='lightvit_mm.LoadSegMap'),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type='lightvit_mm.LoadSegMap'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True, type='lightvit_mm.MaskFolderDataset', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='lightvit_mm.MaskFolderDataset', pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
# The schedule ends with the training.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=200, by_epoch=False),
    dict(type='PolyLR', power=0.9, by_epoch=False),
]
train_cfg = dict(max_iters=8000, val_interval=interval)
default_hooks = dict(
    checkpoint=dict(interval=interval, max_keep_ckpts=2, save_best='mIoU')
)
# test.py --tta mirrors the images; ADE20K's own pipeline reads masks differently.
tta_pipeline = None
