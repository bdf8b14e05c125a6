"""LightViT-T with ViT's patch embedding, one 8x8 convolution (Section 4.1).

The paper adjusts the channels to keep the multiply-adds and does not print
them; here they are those of LightViT-T.

Published: 9.5 M parameters, 0.74 G multiply-adds, top-1 77.4.

tools/dist_train.sh configs/ablation/lightvit_t_plain_patch_embed.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(overlapping_patch_embed=False))
