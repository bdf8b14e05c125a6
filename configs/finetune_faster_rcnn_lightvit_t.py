"""Fine-tune Faster R-CNN with LightViT-T on a COCO-format dataset of boxes.

tools/train.py configs/finetune_faster_rcnn_lightvit_t.py \
    --cfg-options data_root=FOLDER

It is finetune_mask_rcnn_lightvit_t.py without masks, for annotations that have
none.

The paper has no result for it.
Training: 36 epochs, 2 images per GPU, from the authors' ImageNet weights.
"""

_base_ = './finetune_mask_rcnn_lightvit_t.py'

model = dict(
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None),
)

load_boxes = dict(type='LoadAnnotations', with_bbox=True)
train_pipeline = [
    _base_.train_pipeline[0],
    load_boxes,
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    *_base_.test_pipeline[:2],
    load_boxes,
    *_base_.test_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
