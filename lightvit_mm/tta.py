"""Test-time augmentation: each library's own models and transforms."""

from mmengine.config import Config, ConfigDict

from .config import datasets
from .nested import walk

_MODELS = dict(
    mmpretrain=dict(type='AverageClsScoreTTA'),
    mmdet=dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    mmseg=dict(type='SegTTAModel'),
)
# The parts of instance segmentation models, with two stages and with one.
_MASKS = ('mask_head', 'loss_mask')


def augment_test(cfg: Config) -> None:
    """Make a config predict augmented copies of each image and merge the results.

    The config's ``tta_model`` and ``tta_pipeline`` say how. Without them, the
    copies are the image and its mirror image. Scores of classes are averaged, and
    boxes are merged by NMS.

    Args:
        cfg: Complete config of mmpretrain, mmdet or mmseg, changed in place.

    Raises:
        ValueError: If the model predicts masks of instances.
    """
    if any(part.get(key) for part in walk(cfg.model) for key in _MASKS):
        raise ValueError(
            '--tta needs a model without masks of instances, such as '
            'configs/retinanet_lightvit_t_1x.py: mmdet merges only boxes'
        )
    model = cfg.get('tta_model') or _MODELS[cfg.default_scope]
    if 'data_preprocessor' in cfg.model:
        # The one outside of the model would replace that of the augmented model.
        cfg.data_preprocessor = cfg.model.data_preprocessor
    cfg.model = ConfigDict(model, module=cfg.model)
    for slot in datasets(cfg):
        if slot.split == 'test':
            slot.cfg.pipeline = cfg.get('tta_pipeline') or _mirror(slot.cfg.pipeline)


def _mirror(pipeline: list[ConfigDict]) -> list[dict]:
    """The test pipeline for an image and its mirror image."""
    load, *steps, pack = pipeline
    if 'meta_keys' in pack:
        keys = (*pack.meta_keys, 'flip', 'flip_direction')
        pack = ConfigDict(pack, meta_keys=keys)
    # Annotations are read after the flip: they are those of the image itself.
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    transforms = [flips, *([step] for step in (*steps, pack))]
    return [load, dict(type='TestTimeAug', transforms=transforms)]
