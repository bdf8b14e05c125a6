"""Small models with random weights, what they predict, and checks of the results."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint, save_checkpoint

from .. import small

TOOL = str(Path(__file__).parents[2] / 'tools/predict.py')
FRUITS = ('apple', 'banana', 'cherry', 'date', 'elder', 'fig', 'grape')
CROP = (dict(type='ResizeEdge', scale=64), dict(type='CenterCrop', crop_size=64))
NAMES = ['a/one.png', 'b/one.png', 'wide.JPG']  # of the fixture photos


def classifier(num_classes=7, **settings):
    cfg = small.classifier(steps=CROP, num_classes=num_classes)
    cfg.merge_from_dict(settings)
    return cfg


def detector():
    return small.detector(num_classes=7)


def segmentor():
    return small.segmentor(num_classes=7)


def save(cfg, folder, **meta):
    """Write a config and random weights."""
    model = small.build(cfg)
    cfg.dump(folder / 'config.py')
    save_checkpoint(
        dict(meta=meta, state_dict=model.state_dict()), str(folder / 'model.pth')
    )


def save_each(tmp_path_factory):
    """A folder with config.py and model.pth for each task, by its name."""
    for module in ('mmdet', 'mmpretrain', 'mmseg', 'pycocotools'):
        pytest.importorskip(module)
    folders = {}
    for make in (classifier, detector, segmentor):
        folder = folders[make.__name__] = tmp_path_factory.mktemp(make.__name__)
        save(make(), folder, dataset_meta=dict(classes=FRUITS))
    return folders


def plain(folder, path):
    """The sample that the library's own model predicts for an image file."""
    cfg = Config.fromfile(folder / 'config.py')
    settings = cfg.model.copy()
    if 'data_preprocessor' in cfg:
        settings.data_preprocessor = cfg.data_preprocessor
    steps = [
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if step.type != 'LoadAnnotations'
    ]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(settings).eval()
        pipeline = Compose(steps)
    load_checkpoint(model, str(folder / 'model.pth'))
    collate = default_collate if cfg.default_scope == 'mmpretrain' else pseudo_collate
    with torch.no_grad():
        batch = collate([pipeline(dict(img_path=str(path), img_id=0))])
        return model.test_step(batch)[0]


def assert_pictures(photos, least_side=1):
    """Check for drawings on a picture of each image, of its size or enlarged."""
    folder = Path('out/pictures')
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    )
    assert found == NAMES
    for name in NAMES:
        image = cv2.imread(str(photos / name))
        h, w = image.shape[:2]
        side = max(least_side, min(h, w))
        size = w * side // min(h, w), h * side // min(h, w)
        image = cv2.resize(image, size).astype(int)
        picture = cv2.imread(str(folder / name)).astype(int)
        assert picture.shape == image.shape
        changed = np.abs(picture - image).max(axis=2) > 30
        assert 0.01 < changed.mean() < 1


def assert_described(content, photos):
    """Check that images, categories and ids are as documented, for COCO's API, too."""
    assert [image['file_name'] for image in content['images']] == NAMES
    for number, image in enumerate(content['images'], 1):
        h, w = cv2.imread(str(photos / image['file_name'])).shape[:2]
        assert (image['id'], image['width'], image['height']) == (number, w, h)
    assert content['categories'] == [
        dict(id=i, name=name) for i, name in enumerate(FRUITS)
    ]
    ids = [annotation['id'] for annotation in content['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    from pycocotools.coco import COCO

    coco = COCO('out/predictions.json')
    assert sorted(coco.anns) == ids
    assert coco.loadImgs(2)[0]['file_name'] == 'b/one.png'


def of_image(content, number):
    return [a for a in content['annotations'] if a['image_id'] == number]
