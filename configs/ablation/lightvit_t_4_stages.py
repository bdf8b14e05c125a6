"""LightViT-T with four stages, from stride 4 on (Section 4.1).

The paper prints neither channels nor blocks of this network, only that its
multiply-adds are kept by adjusting the channels. These channels put half of
LightViT-T's into the stage that is added, with heads of the same width, and
share the two blocks of its first stage between the first two.

Published: 9.2 M parameters, 0.73 G multiply-adds, top-1 77.9.

tools/dist_train.sh configs/ablation/lightvit_t_4_stages.py 8
"""
_base_ = '../lightvit_t_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=(32, 64, 128, 256),
            depths=(1, 1, 6, 6),
            num_heads=(1, 2, 4, 8),
            mlp_ratios=(8, 8, 4, 4),
            num_tokens=8),
        stem_stride=4,
        out_indices=(3, )))
