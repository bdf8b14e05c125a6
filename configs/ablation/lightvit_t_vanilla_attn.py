"""LightViT-T with ViT's self-attention over all image tokens (Table 5, row 1).

No windows, no position biases, no global tokens, a plain FFN.

Published: 8.0 M parameters, 0.88 G multiply-adds, top-1 76.5.

tools/dist_train.sh configs/ablation/lightvit_t_vanilla_attn.py 8
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(
    backbone=dict(
        window_size=None, num_tokens=0, spatial_attn=False, channel_attn=False
    )
)
