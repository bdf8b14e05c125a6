"""Models of any mmpretrain, mmdet or mmsegmentation config, to be measured."""

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn


def build_model(cfg: Config) -> nn.Module:
    """The model of a config in evaluation mode, with random weights.

    Nothing is downloaded: weights that the config names are not loaded.
    """
    settings = cfg.model.copy()
    if 'data_preprocessor' in cfg:  # mmpretrain's configs have it outside
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MODELS.build(settings)
    return revert_sync_batchnorm(model).eval()


def forward_tensors(model: nn.Module, images: Tensor):
    """The network without post-processing, mmengine's ``mode='tensor'``.

    Args:
        model: A model of any of the three libraries.
        images: Normalised images (B, C, h, w).
    """
    shape = tuple(images.shape[-2:])
    metainfo = dict(
        ori_shape=shape,
        img_shape=shape,
        pad_shape=shape,
        batch_input_shape=shape,
        scale_factor=(1.0, 1.0),
    )
    samples = [BaseDataElement(metainfo=metainfo) for _ in images]
    return model(images, samples, mode='tensor')
