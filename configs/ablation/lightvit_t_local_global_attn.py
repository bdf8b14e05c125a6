"""LightViT-T without bi-dimensional attention in the FFN (Table 5, row 3).

tools/dist_train.sh configs/ablation/lightvit_t_local_global_attn.py 8

Published: 8.8 M parameters, 0.71 G MACs, top-1 78.0.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(spatial_attn=False, channel_attn=False))
