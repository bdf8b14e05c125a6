"""Shard optimizer state and gradients with DeepSpeed (ZeRO stage 2).

Add it to ``_base_`` of any config without a ``runner_type``.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='lightvit_mm.DeepSpeedStrategy',
    zero_optimization=dict(stage=2),
)
