"""LightViT-T with four stages, the first at stride 4."""

four_stages = dict(
    embed_dims=(32, 64, 128, 256),
    depths=(1, 1, 6, 6),
    num_heads=(1, 2, 4, 8),
    mlp_ratios=(8, 8, 4, 4),
    num_tokens=8,
)
