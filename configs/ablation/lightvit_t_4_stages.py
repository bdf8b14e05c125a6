"""LightViT-T with four stages, the first at stride 4 (Section 4.1).

tools/dist_train.sh configs/ablation/lightvit_t_4_stages.py 8

The paper adjusts the channels to keep the MACs, but prints neither channels nor
blocks. Here the new stage has half of LightViT-T's first channels, and the heads
keep their width. The two blocks of LightViT-T's first stage are split between the
first two stages.

Published: 9.2 M parameters, 0.73 G MACs, top-1 77.9.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = ['../lightvit_t_8xb128_in1k.py', './_base_/four_stages.py']

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.four_stages), stem_stride=4, out_indices=(3,)
    )
)
