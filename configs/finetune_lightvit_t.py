"""Fine-tune LightViT-T on a folder of images, one subfolder per class.

tools/train.py configs/finetune_lightvit_t.py --cfg-options data_root=FOLDER

The images are in FOLDER/train/CLASS/ and FOLDER/val/CLASS/. The runner reads
the class names from there and applies the options pretrained and image_size.
The learning rate is set for 64 images in total and is scaled to the actual batch
size.

The paper has no result for it.
Training: 30 epochs, 64 images per GPU, from the authors' ImageNet weights.
"""

_base_ = './_base_/lightvit_in1k.py'
data_root = 'data/finetune'
pretrained = True  # the weights below; None: random ones; or a file or address
image_size = None  # 224, as in the pipelines; an integer changes all of them
runner_type = 'lightvit_mm.ClassFolderRunner'
checkpoint = 'lightvit://tiny-in1k'

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    ),
    neck=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='neck.')),
)

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type='lightvit_mm.ClassFolderDataset',
        data_prefix='train',
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type='lightvit_mm.ClassFolderDataset',
        data_prefix='val',
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
# Top-5 needs five classes; a folder may have fewer.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
# The schedule ends with the training.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1'))
