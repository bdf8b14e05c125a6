"""LightViT-T with local window attention only (Table 5, row 2).

tools/dist_train.sh configs/ablation/lightvit_t_local_attn.py 8

Published: 8.0 M parameters, 0.66 G MACs, top-1 76.9.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(num_tokens=0, spatial_attn=False, channel_attn=False))
