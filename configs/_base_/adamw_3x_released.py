"""The recipe of the authors' released code for COCO, 36 epochs."""

_base_ = './adamw_3x.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=0.04))
