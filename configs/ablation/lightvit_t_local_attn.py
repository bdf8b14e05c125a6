"""LightViT-T with local window attention alone (Table 5, row 2).

Published: 8.0 M parameters, 0.66 G multiply-adds, top-1 76.9.

tools/dist_train.sh configs/ablation/lightvit_t_local_attn.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(num_tokens=0, spatial_attn=False, channel_attn=False))
