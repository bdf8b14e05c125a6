"""LightViT-T with four stages, from stride 4 on (Section 4.1).

The paper prints neither channels nor blocks of this network, only that its
multiply-adds are kept by adjusting the channels. These channels put half of
LightViT-T's into the stage that is added, with heads of the same width, and
share the two blocks of its first stage between the first two.

Published: 9.2 M parameters, 0.73 G multiply-adds, top-1 77.9.

tools/dist_train.sh configs/ablation/lightvit_t_4_stages.py 8
"""

_base_ = ['../lightvit_t_8xb128_in1k.py', './_base_/four_stages.py']

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.four_stages), stem_stride=4, out_indices=(3,)
    )
)
