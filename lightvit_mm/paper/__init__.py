"""The tables and figures of the LightViT paper, made again."""
