"""The three sizes of LightViT, as parts of a model.

``**_base_.lightvit.tiny.backbone`` is LightViT-T with the authors' ImageNet
weights, and ``_base_.lightvit.tiny.neck`` has the channels of its stages. In a
config that inherits one with LightViT-T, ``model = _base_.lightvit.small``
makes it LightViT-S.
"""

# Registers the package, and mmcv's operators, for every tool that reads this.
custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

# Hooks of all configs: default_hooks = _base_.hooks
hooks = dict(
    exact_resume=dict(type='lightvit_mm.ExactResumeHook'),
    finite_loss=dict(type='lightvit_mm.FiniteLossHook'),
    stop_signal=dict(type='lightvit_mm.StopSignalHook'),
    lost_rank=dict(type='lightvit_mm.LostRankHook'),
)


def _size(arch, drop_path_rate, channels):
    return dict(
        backbone=dict(
            type='lightvit_mm.LightViT',
            arch=arch,
            drop_path_rate=drop_path_rate,
            init_cfg=dict(type='Pretrained', checkpoint=f'lightvit://{arch}-in1k'),
        ),
        neck=dict(in_channels=channels),
    )


lightvit = dict(
    tiny=_size('tiny', 0.1, [64, 128, 256]),
    small=_size('small', 0.1, [96, 192, 384]),
    base=_size('base', 0.3, [128, 256, 512]),
)
