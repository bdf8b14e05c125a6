"""The parameters that AdamW does not decay, as in the authors' code."""

no_decay = dict(
    norm_decay_mult=0.0,
    custom_keys=dict(
        relative_position_bias_table=dict(decay_mult=0.0),
        global_token=dict(decay_mult=0.0),
    ),
)
