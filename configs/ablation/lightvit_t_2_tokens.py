"""LightViT-T with 2 global tokens (Table 6).

tools/dist_train.sh configs/ablation/lightvit_t_2_tokens.py 8

Published: 0.69 G MACs, top-1 77.8.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(backbone=dict(num_tokens=2))
