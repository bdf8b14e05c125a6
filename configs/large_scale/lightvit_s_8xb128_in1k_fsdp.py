"""LightViT-S on ImageNet-1K, with FSDP.

tools/dist_train.sh configs/large_scale/lightvit_s_8xb128_in1k_fsdp.py 8

Published: top-1 80.9 (80.8 in the paper), top-5 95.3 on the validation set
(authors' release), with DDP.
Training: 300 epochs on 8 GPUs, 128 images per GPU.
"""

_base_ = ['../lightvit_s_8xb128_in1k.py', '../_base_/fsdp.py']
