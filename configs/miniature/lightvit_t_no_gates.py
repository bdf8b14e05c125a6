"""LightViT-T without bi-dimensional attention on ten classes of ImageNet.

tools/train.py configs/miniature/lightvit_t_no_gates.py --cfg-options data_root=FOLDER

The paper has no result for it.
Training: 12 epochs, 64 images per step, from random weights.
"""

_base_ = './_base_/imagenette.py'

model = dict(backbone=dict(spatial_attn=False, channel_attn=False))
