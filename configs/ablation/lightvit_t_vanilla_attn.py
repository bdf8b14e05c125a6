"""LightViT-T with ViT's self-attention over all tokens (Table 5, row 1).

tools/dist_train.sh configs/ablation/lightvit_t_vanilla_attn.py 8

It has no windows, no position biases, no global tokens, and a plain FFN.

Published: 8.0 M parameters, 0.88 G MACs, top-1 76.5.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(
    backbone=dict(
        window_size=None, num_tokens=0, spatial_attn=False, channel_attn=False
    )
)
