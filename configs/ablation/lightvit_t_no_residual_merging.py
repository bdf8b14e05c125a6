"""LightViT-T with Swin's patch merging, without a residual (Section 4.1).

tools/dist_train.sh configs/ablation/lightvit_t_no_residual_merging.py 8

Published: 9.3 M parameters, 0.73 G MACs, top-1 78.4.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(residual_patch_merging=False))
