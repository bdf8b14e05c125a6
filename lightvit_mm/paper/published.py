"""The figures that the paper and the authors' release give, typed in once.

The tables of this folder compare with them. ``tests/paper/test_published.py``
checks that README, docs, configs and ``metafile.yml`` agree with them.
"""

from typing import NamedTuple

# Top-1 and top-5 accuracy of the authors' checkpoints on ImageNet, in per cent.
RELEASE = {
    'LightViT-T': (78.7, 94.4),
    'LightViT-S': (80.9, 95.3),
    'LightViT-B': (82.1, 95.9),
}

# Blocks (B), channels (C), heads (H) and global tokens (T) of T, S and B.
TABLE1 = {
    'S0: stem': ('C=64', 'C=96', 'C=128'),
    'S1': ('B=2 C=64 H=2', 'B=2 C=96 H=3', 'B=3 C=128 H=4'),
    'S2': ('B=6 C=128 H=4', 'B=6 C=192 H=6', 'B=8 C=256 H=8'),
    'S3': ('B=6 C=256 H=8', 'B=6 C=384 H=12', 'B=6 C=512 H=16'),
    'global tokens': ('T=8', 'T=16', 'T=24'),
}


class Classifier(NamedTuple):
    """A row of Table 3, at 224 x 224.

    Args:
        name: Name of the model.
        block: Type of its blocks.
        parameters: In millions.
        multiply_adds: In 10^9; the paper calls them FLOPs.
        throughput: Images per second on one V100.
        top1: Top-1 accuracy on ImageNet in per cent.
        source: Name of the model for :func:`lightvit_mm.analysis.benchmark.build`;
            None if neither timm nor mmpretrain has it.
    """

    name: str
    block: str
    parameters: float
    multiply_adds: float
    throughput: int
    top1: float
    source: str | None


_T = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
_S = 'lightvit_mm::lightvit_s_8xb128_in1k.py'
_B = 'lightvit_mm::lightvit_b_8xb128_in1k.py'
# fmt: off
TABLE3 = tuple(Classifier(*row) for row in (
    ('RegNetY-800M', 'CNN', 6.3, 0.8, 3321, 76.3, 'regnety_008'),
    ('PVTv2-B0', 'Hybrid', 3.4, 0.6, 2324, 70.5, 'pvt_v2_b0'),
    ('SimViT-Micro', 'Hybrid', 3.3, 0.7, 1004, 71.1, None),
    ('MobileViT-XS', 'Hybrid', 2.3, 0.7, 1581, 74.8, 'mobilevit_xs'),
    ('LVT', 'Hybrid', 5.5, 0.9, 1545, 74.8, None),
    ('LightViT-T', 'Transformer', 9.4, 0.7, 2578, 78.7, _T),
    ('RegNetY-1.6G', 'CNN', 11.2, 1.6, 1845, 78.0, 'regnety_016'),
    ('MobileViT-S', 'Hybrid', 5.6, 1.1, 1219, 78.4, 'mobilevit_s'),
    ('PVTv2-B1', 'Hybrid', 13.1, 2.1, 1231, 78.7, 'pvt_v2_b1'),
    ('ResT-Small', 'Hybrid', 13.7, 1.9, 1298, 79.6, None),
    ('DeiT-Ti', 'Transformer', 5.7, 1.3, 2612, 72.2, 'deit_tiny_patch16_224'),
    ('LightViT-S', 'Transformer', 19.2, 1.7, 1467, 80.8, _S),
    ('RegNetY-4G', 'CNN', 21.0, 4.0, 1045, 80.0, 'regnety_040'),
    ('Twins-PCPVT-S', 'Hybrid', 24.1, 3.8, 807, 81.2, 'twins_pcpvt_small'),
    ('ResT-Base', 'Hybrid', 30.3, 4.3, 735, 81.6, None),
    ('PVTv2-B2', 'Hybrid', 25.4, 4.0, 695, 82.0, 'pvt_v2_b2'),
    ('DeiT-S', 'Transformer', 22, 4.6, 961, 79.8, 'deit_small_patch16_224'),
    ('Swin-T', 'Transformer', 29, 4.9, 765, 81.3, 'swin_tiny_patch4_window7_224'),
    ('LightViT-B', 'Transformer', 35.2, 3.9, 827, 82.1, _B),
))
# fmt: on
LIGHTVITS = tuple(row for row in TABLE3 if row.name.startswith('LightViT'))


class Detector(NamedTuple):
    """A row of Table 4: Mask R-CNN with one backbone.

    Args:
        name: Name of the backbone.
        parameters: In millions.
        multiply_adds: In 10^9, at 800 x 1280.
        ap_1x: Box and mask AP, 1x schedule.
        ap_3x: Box and mask AP, 3x schedule with multi-scale training.
    """

    name: str
    parameters: int
    multiply_adds: int
    ap_1x: tuple[float, float]
    ap_3x: tuple[float, float]


TABLE4 = (
    Detector('ResNet-18', 31, 207, (34.0, 31.2), (36.9, 33.6)),
    Detector('ResNet-50', 44, 260, (38.0, 34.4), (41.0, 37.1)),
    Detector('ResNet-101', 101, 493, (40.4, 36.4), (42.8, 38.5)),
    Detector('PVT-T', 33, 208, (36.7, 35.1), (39.8, 37.4)),
    Detector('PVT-S', 44, 245, (40.4, 37.8), (43.0, 39.9)),
    Detector('PVT-M', 64, 302, (42.0, 39.0), (44.2, 40.5)),
    Detector('LightViT-T', 28, 187, (37.8, 35.9), (41.5, 38.4)),
    Detector('LightViT-S', 38, 204, (40.0, 37.4), (43.2, 39.9)),
    Detector('LightViT-B', 54, 240, (41.7, 38.8), (45.0, 41.2)),
)


class Ablation(NamedTuple):
    """A row of an ablation of LightViT-T.

    Args:
        name: What it is or what it adds.
        config: Its config.
        parameters: In millions; None if the paper does not print them.
        multiply_adds: In 10^9.
        top1: Top-1 accuracy on ImageNet in per cent.
    """

    name: str
    config: str
    parameters: float | None
    multiply_adds: float
    top1: float


def _ablation(name: str, config: str, *figures: float | None) -> Ablation:
    return Ablation(name, f'lightvit_mm::ablation/lightvit_t_{config}.py', *figures)


_LIGHTVIT_T = Ablation('LightViT-T', _T, 9.4, 0.73, 78.7)
TABLE5 = (
    _ablation('self-attention over all tokens', 'vanilla_attn', 8.0, 0.88, 76.5),
    _ablation('local self-attention', 'local_attn', 8.0, 0.66, 76.9),
    _ablation('+ global attention', 'local_global_attn', 8.8, 0.71, 78.0),
    _ablation('+ spatial attention', 'local_global_spatial_attn', 9.1, 0.73, 78.4),
    _LIGHTVIT_T._replace(name='+ channel attention: LightViT-T'),
)
TABLE6 = (
    _ablation('0', '0_tokens', None, 0.68, 77.3),
    _ablation('2', '2_tokens', None, 0.69, 77.8),
    _ablation('4', '4_tokens', None, 0.70, 78.3),
    _LIGHTVIT_T._replace(name='8: LightViT-T'),
    _ablation('16', '16_tokens', None, 0.80, 78.8),
    _ablation('32', '32_tokens', None, 0.92, 78.8),
)
SECTION4 = (
    _ablation('with 4 stages', '4_stages', 9.2, 0.73, 77.9),
    _ablation(
        'without residual in patch merging', 'no_residual_merging', 9.3, 0.73, 78.4
    ),
    _ablation(
        'without overlapping patch embedding', 'plain_patch_embed', 9.5, 0.74, 77.4
    ),
    _LIGHTVIT_T,
)
# Images per second on one V100, for the rows of SECTION4.
SECTION4_THROUGHPUT = (1643, 2597, 2652, 2578)
# Box AP of Mask R-CNN, 1x schedule, with the four-stage LightViT-T.
FOUR_STAGES_BOX_AP = 37.5
