"""LightViT-T without global tokens on ten classes of ImageNet.

tools/train.py configs/miniature/lightvit_t_0_tokens.py --cfg-options data_root=FOLDER

The paper has no result for it.
Training: 12 epochs, 64 images per step, from random weights.
"""

_base_ = './_base_/imagenette.py'

model = dict(backbone=dict(num_tokens=0))
