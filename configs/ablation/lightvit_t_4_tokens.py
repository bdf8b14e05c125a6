"""LightViT-T with 4 global tokens (Table 6).

Published: 0.70 G multiply-adds, top-1 78.3.

tools/dist_train.sh configs/ablation/lightvit_t_4_tokens.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(num_tokens=4))
