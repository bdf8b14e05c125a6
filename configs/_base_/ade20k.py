"""ADE20K, two images per GPU: 16 in total on eight GPUs."""

_base_ = 'mmseg::_base_/datasets/ade20k.py'

train_dataloader = dict(batch_size=2)
