"""Samples, drawn as the network sees them."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm.check_dataset import samples

from .datasets import HEIGHT, WIDTH, read_config

NORMALIZE = dict(
    type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)


def drawn(config, folder, num_samples=4):
    """RGB pictures of a config's samples."""
    paths = samples.draw_samples(config, folder, num_samples)
    assert sorted(folder.iterdir()) == sorted(paths)
    return [np.array(Image.open(path).convert('RGB')) for path in paths]


def is_red(pixels):
    # The stored colour, except for the loss of JPEG.
    return np.abs(pixels.astype(int) - (200, 60, 20)).max(axis=-1) < 6


@pytest.mark.parametrize('in_pipeline', [False, True])
def test_boxes_are_drawn_as_the_network_sees_them(pets, tmp_path, in_pipeline):
    pipeline = pets.cfg['train_dataloader']['dataset']['pipeline']
    pipeline += [
        dict(type='Resize', scale=(160, 120)),
        *([NORMALIZE] if in_pipeline else []),
        dict(type='PackDetInputs'),
    ]
    # The default colours might be red.
    pets.cfg['train_dataloader']['dataset']['metainfo']['palette'] = [
        (0, 0, 255),
        (0, 255, 0),
    ]
    pets.cfg['model']['data_preprocessor'] = dict(
        type='DetDataPreprocessor',
        pad_size_divisor=32,
        pad_mask=True,
        **(
            {}
            if in_pipeline
            else dict(mean=NORMALIZE['mean'], std=NORMALIZE['std'], bgr_to_rgb=True)
        ),
    )
    for picture in drawn(pets.config(), tmp_path / 'drawn'):
        assert picture.shape == (128, 160, 3)  # padded
        assert is_red(picture[60:118, 2:158]).mean() > 0.95
        assert not is_red(picture[20:52, 8:48]).any()  # the first box
        assert not is_red(picture[121:]).any()


def test_maps_are_drawn(maps, tmp_path):
    half = WIDTH * HEIGHT // 2
    for i in range(3):
        maps.write_map('train', i, [255] * half + [1] * half)
    maps.train()['metainfo'] = dict(
        classes=('sky', 'road', 'car'), palette=[(0, 255, 0), (0, 0, 255), (0, 255, 0)]
    )
    maps.train()['pipeline'] += [dict(type='PackSegInputs')]
    maps.cfg['model']['data_preprocessor'] = dict(
        type='SegDataPreProcessor',
        mean=NORMALIZE['mean'],
        std=NORMALIZE['std'],
        bgr_to_rgb=True,
        size=(HEIGHT, WIDTH),
    )
    pictures = drawn(read_config(maps.cfg), tmp_path / 'drawn', num_samples=2)
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        is_blue = picture[..., 2] > 180
        assert not is_blue[:12].any() and is_blue[16:].mean() > 0.5


def test_labels_are_drawn(folders, tmp_path):
    pictures = drawn(read_config(folders.cfg), tmp_path / 'drawn')
    assert len(pictures) == 2  # of a fold of two
    for picture in pictures:
        assert min(picture.shape[:2]) == samples.MIN_SIDE
        assert is_red(picture[100:]).mean() > 0.95


@pytest.mark.parametrize('num_channels', [1, 2, 4])
def test_other_numbers_of_channels_are_drawn(num_channels):
    """The first three channels as blue, green and red, or the first as grey."""
    config = read_config(dict(train_dataloader=dict(dataset=dict())))
    inputs = torch.arange(num_channels).view(1, -1, 1, 1).expand(1, -1, 2, 2).float()
    [image] = samples._undo_normalization(config, dict(), inputs)
    assert image.shape == (2, 2, 3)
    assert image[0, 0].tolist() == ([2, 1, 0] if num_channels == 4 else [0, 0, 0])


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(train_dataloader=None), 'has no train_dataloader'),
        (dict(num_samples=0), '0 samples cannot be drawn'),
    ],
)
def test_impossible_drawings_are_explained(pets, tmp_path, change, message):
    num_samples = change.pop('num_samples', 4)
    pets.cfg.update(change)
    with pytest.raises(ValueError, match=message):
        samples.draw_samples(pets.config(), tmp_path / 'drawn', num_samples)
