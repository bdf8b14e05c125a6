"""Shard weights, gradients and optimizer state with PyTorch's FSDP.

Add it to ``_base_`` of any config without a ``runner_type``.
"""

runner_type = 'FlexibleRunner'
strategy = dict(type='lightvit_mm.FSDPStrategy')
