"""LightViT-T with 2 global tokens (Table 6).

Published: 0.69 G multiply-adds, top-1 77.8.

tools/dist_train.sh configs/ablation/lightvit_t_2_tokens.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(num_tokens=2))
