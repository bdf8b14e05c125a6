"""LightViT-T as the backbone of any detector or segmentor.

It starts from the authors' ImageNet weights, which are downloaded once.
"""

# Registers the package and what mmcv needs of it, whichever tool reads this.
custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

lightvit_t = dict(
    type='lightvit_mm.LightViT',
    arch='tiny',
    drop_path_rate=0.1,
    init_cfg=dict(type='Pretrained', checkpoint='lightvit://tiny-in1k'),
)
