"""The paper's recipe for COCO (Section 5.2), 36 epochs."""

_base_ = './adamw_1x.py'

train_cfg = dict(max_epochs=36)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(milestones=[27, 33], end=36)
