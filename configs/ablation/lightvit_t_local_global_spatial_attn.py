"""LightViT-T without channel attention in the FFN (Table 5, row 4).

tools/dist_train.sh configs/ablation/lightvit_t_local_global_spatial_attn.py 8

Published: 9.1 M parameters, 0.73 G MACs, top-1 78.4.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(channel_attn=False))
