"""One size of images for train, val and test."""

import copy
import functools
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from lightvit_mm.engine.image_size import set_image_size

ROOT = Path(__file__).parents[2]
CLASSIFIER = 'finetune_lightvit_t'
DETECTOR = 'finetune_mask_rcnn_lightvit_t'
SEGMENTOR = 'finetune_semantic_fpn_lightvit_t'

read = functools.lru_cache(maxsize=None)(Config.fromfile)


def resized(config, image_size):
    cfg = copy.deepcopy(read(ROOT / f'configs/{config}.py'))
    set_image_size(cfg, image_size)
    return cfg


def apply(cfg, split, image, **annotations):
    """The shape (h, w) of an image after the pipeline of a split."""
    pipeline = [
        dict(step, with_mask=False) if 'with_mask' in step else step
        for step in cfg[f'{split}_dataloader'].dataset.pipeline
    ]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        results = Compose(pipeline)(dict(img_path=str(image), img_id=0, **annotations))
    return tuple(results['inputs'].shape[1:])


@pytest.fixture
def image(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((300, 400, 3), np.uint8))
    return tmp_path / '0.png'


@pytest.mark.parametrize('size', [96, 320])
def test_classifiers_get_crops_of_the_size(size, image):
    pytest.importorskip('mmpretrain')
    cfg = resized(CLASSIFIER, size)
    for split in ('train', 'val', 'test'):
        assert apply(cfg, split, image, gt_label=0) == (size, size)
    # The paper's 256 : 224.
    assert cfg.test_dataloader.dataset.pipeline[1].scale == round(size * 8 / 7)


@pytest.mark.parametrize('size', [150, 1200])
def test_detectors_get_a_shorter_side_of_the_size(size, image):
    pytest.importorskip('mmdet')
    cfg = resized(DETECTOR, size)
    for split in ('train', 'val', 'test'):
        assert apply(cfg, split, image, instances=[]) == (size, size * 4 / 3)


@pytest.mark.parametrize('size', [128, 640])
def test_segmentors_get_crops_and_a_shorter_side_of_the_size(size, image):
    pytest.importorskip('mmseg')
    mask = image.with_name('mask.png')
    cv2.imwrite(str(mask), np.zeros((300, 400), np.uint8))
    annotations = dict(
        seg_map_path=str(mask),
        label_map={0: 0},
        reduce_zero_label=False,
        seg_fields=[],
    )
    cfg = resized(SEGMENTOR, size)
    height, width = apply(cfg, 'train', image, **annotations)
    assert height <= size and width <= size  # padded to it later
    assert cfg.model.data_preprocessor.size == (size, size)
    for split in ('val', 'test'):
        height, width = apply(cfg, split, image, **annotations)
        assert height == size and width == round(size * 4 / 3)


def test_multi_scale_pipelines_keep_their_proportions():
    """As in mask_rcnn_lightvit_t_3x.py, with nested transforms and ranges."""
    cfg = resized('mask_rcnn_lightvit_t_3x', 400)
    simple, cropped = cfg.train_dataloader.dataset.pipeline[3].transforms
    scales = [(side // 2, round(1333 / 2)) for side in range(480, 801, 32)]
    assert [tuple(scale) for scale in simple[0].scales] == scales
    assert [scale[0] for scale in cropped[0].scales] == [200, 250, 300]
    assert cropped[1].crop_size == (192, 300)


def test_every_size_in_pixels_of_rtmdet_changes():
    """Mosaic, padding, test-time augmentation and the pipeline of the last epochs."""
    cfg = resized('rtmdet_ins_lightvit_t_300e', 100)
    parts = ('train_dataloader', 'test_dataloader', 'tta_pipeline', 'custom_hooks')
    used = str([cfg[part] for part in parts])
    assert not any(pixels in used for pixels in ('640', '1280', '320', '960'))
    train = cfg.train_dataloader.dataset.pipeline
    assert train[2].img_scale == (100, 100)
    assert train[3].scale == (200, 200) and train[3].ratio_range == (0.5, 2.0)
    tta = cfg.tta_pipeline[1].transforms
    assert [step.scale[0] for step in tta[0]] == [100, 50, 150]
    assert tta[2][0].size == (150, 150) and tta[2][0].pad_val.img == (114, 114, 114)
    assert cfg.custom_hooks[1].switch_pipeline[2].scale == (100, 100)


@pytest.mark.parametrize('config', [CLASSIFIER, DETECTOR, SEGMENTOR])
def test_applying_it_twice_is_applying_it_once(config):
    """The config in the work dir has the sizes and the option."""
    cfg = resized(config, 333)
    once = cfg.to_dict()
    set_image_size(cfg, 333)
    assert cfg.to_dict() == once


def test_windows_of_a_segmentor_follow():
    cfg = copy.deepcopy(read(ROOT / f'configs/{SEGMENTOR}.py'))
    cfg.model.test_cfg = dict(mode='slide', crop_size=(512, 512), stride=(384, 384))
    set_image_size(cfg, 256)
    assert cfg.model.test_cfg.crop_size == (256, 256)
    assert cfg.model.test_cfg.stride == (192, 192)


@pytest.mark.parametrize('size', [0, -1, 1.5, '640', True, (640, 640)])
def test_bad_sizes_are_named(size):
    with pytest.raises(ValueError, match='image_size=.* should be a positive number'):
        resized(CLASSIFIER, size)


@pytest.mark.parametrize('size', [1, 31])
def test_sizes_below_the_stride_of_a_network_are_named(size):
    with pytest.raises(ValueError, match=f'image_size={size} should be at least 32'):
        resized(CLASSIFIER, size)


def test_pipelines_without_a_size_are_an_error():
    cfg = copy.deepcopy(read(ROOT / f'configs/{CLASSIFIER}.py'))
    del cfg.test_dataloader.dataset.pipeline[1:3]
    with pytest.raises(ValueError, match='no transform of test_dataloader.*has a size'):
        set_image_size(cfg, 96)


def test_a_tool_may_remove_the_sizes_of_test_after_they_are_set():
    """As mmdet's analyze_results does with a config of the work dir."""
    cfg = resized(DETECTOR, 333)
    del cfg.test_dataloader.dataset.pipeline[1:]
    once = cfg.to_dict()
    set_image_size(cfg, 333)
    assert cfg.to_dict() == once


def test_shared_pipelines_change_once():
    """Python code may give several datasets the same list."""
    cfg = copy.deepcopy(read(ROOT / f'configs/{DETECTOR}.py'))
    shared = cfg.test_dataloader.dataset.pipeline
    cfg.val_dataloader.dataset['pipeline'] = shared
    assert cfg.val_dataloader.dataset.pipeline[1] is shared[1]
    set_image_size(cfg, 400)
    assert tuple(shared[1].scale) == (666, 400)
