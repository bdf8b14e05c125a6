"""LightViT-T with Swin's patch merging, without a residual (Section 4.1).

Published: 9.3 M parameters, 0.73 G multiply-adds, top-1 78.4.

tools/dist_train.sh configs/ablation/lightvit_t_no_residual_merging.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(residual_patch_merging=False))
