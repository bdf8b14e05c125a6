"""LightViT-T with ViT's patch embedding, one 8x8 convolution (Section 4.1).

tools/dist_train.sh configs/ablation/lightvit_t_plain_patch_embed.py 8

The paper adjusts the channels to keep the MACs, but does not print them. This
config keeps LightViT-T's channels.

Published: 9.5 M parameters, 0.74 G MACs, top-1 77.4.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(overlapping_patch_embed=False))
