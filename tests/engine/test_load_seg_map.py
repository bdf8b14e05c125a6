"""Masks of any values or colours, against labels computed by hand."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from lightvit_mm.engine.folders.masks import read_mask_classes

pytest.importorskip('mmseg')

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
LOAD = dict(type='lightvit_mm.LoadSegMap')


@pytest.fixture
def folder(tmp_path):
    for name in ('img_dir/train', 'ann_dir/train'):
        (tmp_path / name).mkdir(parents=True)
    Image.new('RGB', (3, 2)).save(tmp_path / 'img_dir/train/0.jpg')
    return tmp_path


def labels(folder, text, mask, load=LOAD, suffix='.png'):
    """Labels of a mask under a classes.txt."""
    (folder / 'classes.txt').write_text(text)
    mask.save(folder / f'ann_dir/train/0{suffix}')
    named = read_mask_classes(folder / 'classes.txt')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(
            dict(
                type='lightvit_mm.MaskFolderDataset',
                data_root=str(folder),
                data_prefix=dict(
                    img_path='img_dir/train', seg_map_path='ann_dir/train'
                ),
                mask_classes=named.names,
                mask_values=named.values,
                metainfo=dict(classes=named.classes),
                pipeline=[load],
            )
        )
    result = dataset[0]['gt_seg_map']
    assert result.dtype == np.uint8
    return result.tolist()


def grey(rows, dtype=np.uint8):
    return Image.fromarray(np.array(rows, dtype))


def palette(rows, colours):
    image = Image.fromarray(np.array(rows, np.uint8), 'P')
    image.putpalette([number for colour in colours for number in colour])
    return image


def colours(rows, mode='RGB'):
    return Image.fromarray(np.array(rows, np.uint8)).convert(mode)


PALETTE = palette([[0, 1, 2], [2, 2, 0]], [BLACK, RED, GREEN])
RGB = colours([[RED, GREEN, BLACK], [BLACK, BLACK, RED]])


@pytest.mark.parametrize(
    'text, mask, expected',
    [
        # The most common masks of two classes: 255 is no longer ignored.
        ('0: sky\n255: road', grey([[0, 255], [255, 255]]), [[0, 1], [1, 1]]),
        ('255: road\n0: sky', grey([[0, 255], [255, 255]]), [[1, 0], [0, 0]]),
        ('127: sky\n254: road', grey([[127, 254, 127]]), [[0, 1, 0]]),
        # 255 is ignored if it has no name, or the name void.
        ('127: sky\n254: road', grey([[127, 254, 255]]), [[0, 1, 255]]),
        ('1: sky\n2: road\n255: void', grey([[1, 2, 255]]), [[0, 1, 255]]),
        ('7: sky\n0: void\n9: road', grey([[0, 7, 9]]), [[255, 0, 1]]),
        # Values in the order of the lines.
        ('sky\nvoid\nroad', grey([[0, 1, 2, 255]]), [[0, 255, 1, 255]]),
        (
            '1000: sky\n65535: road\n255: car',
            grey([[1000, 65535, 255]], np.uint16),
            [[0, 1, 2]],
        ),
        ('0: sky\n1: road', Image.new('1', (2, 1), 1), [[1, 1]]),
        # A palette counts as numbers or as colours, as classes.txt does.
        ('sky\nroad\ncar', PALETTE, [[0, 1, 2], [2, 2, 0]]),
        (
            '#00ff00: sky\n#FF0000: road\n#000000: void',
            PALETTE,
            [[255, 1, 0], [0, 0, 255]],
        ),
        (
            '255,0,0: sky\n0, 255, 0: road\n0,0,0: void',
            RGB,
            [[0, 1, 255], [255, 255, 0]],
        ),
        (
            '#ff0000: sky\n#00ff00: road\n#000000: car',
            RGB.convert('RGBA'),
            [[0, 1, 2], [2, 2, 0]],
        ),
        ('#000000: sky\n#ffffff: road', grey([[0, 255]]), [[0, 1]]),
        # Numbers, saved with three equal channels or with transparency.
        ('0: sky\n255: road', grey([[0, 255]]).convert('RGB'), [[0, 1]]),
        ('0: sky\n255: road', grey([[0, 255]]).convert('RGBA'), [[0, 1]]),
        ('0: sky\n255: road', grey([[0, 255]]).convert('LA'), [[0, 1]]),
    ],
)
def test_values_and_colours_become_labels(text, mask, expected, folder):
    assert labels(folder, text, mask) == expected


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.tiff', '.bmp'])
def test_formats_that_keep_values(suffix, folder):
    text, mask = '3: sky\n200: road', grey([[3, 200], [200, 3]])
    assert labels(folder, text, mask, suffix=suffix) == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    'text, mask, message',
    [
        ('sky\nroad', grey([[0, 1, 7, 9]]), '0.png has the values 7, 9, which classes'),
        ('127: sky\n254: road', grey([[127, 0]]), 'has the values 0, which'),
        ('sky\nroad', grey([[*range(12)]]), 'the values 2, 3, 4, 5, 6 and 5 more, wh'),
        ('#ff0000: a\n#00ff00: b', RGB, 'has the values #000000, which'),
        (
            '0: sky\n255: road',
            grey([[*range(256)]]),
            'and 249 more, which .* does not list. Was it smoothed or resized, or eve',
        ),
        ('sky\nroad', RGB, '0.png has colours, but .*numbers: give each line a colour'),
    ],
)
def test_what_classes_txt_does_not_list_is_an_error(text, mask, message, folder):
    with pytest.raises(ValueError, match=message):
        labels(folder, text, mask)


def test_negative_and_huge_values_are_an_error(folder):
    mask = Image.fromarray(np.array([[0, 1, -1, 2**31 - 1]], np.int32))
    with pytest.raises(ValueError, match='has the values -1, 2147483647, which'):
        labels(folder, '0: sky\n1: road', mask, suffix='.tif')


@pytest.mark.parametrize('length', [0, 20, 60])
def test_a_broken_mask_is_named(length, folder):
    class Truncated:
        def save(self, path):
            grey(np.eye(60)).save(path)
            path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(ValueError, match='ann_dir/train/0.png cannot be decoded'):
        labels(folder, 'sky\nroad', Truncated())


def test_fractions_are_an_error(folder):
    mask = Image.fromarray(np.array([[0.5, 1]], np.float32))
    with pytest.raises(ValueError, match='has fractions .*whole numbers'):
        labels(folder, 'sky\nroad', mask, suffix='.tif')


@pytest.mark.parametrize(
    'text', ['sky\nvoid\nroad', 'sky\ncar\nroad', '2: sky\n0: road\n1: void']
)
def test_mmsegs_loader_gives_the_same_for_numbers(text, folder):
    """Configs of earlier versions have it."""
    mask = grey([[0, 1, 2, 255], [2, 0, 255, 1]])
    old = labels(folder, text, mask, dict(type='LoadAnnotations'))
    assert old == labels(folder, text, mask)


def test_a_bare_image_passes_unchanged():
    """mmseg's inference functions only remove a step called LoadAnnotations."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        load = Compose([LOAD])
    assert load(dict(img=1)) == dict(img=1)


def test_reduce_zero_label_is_an_error():
    with DefaultScope.overwrite_default_scope('mmseg'):
        load = Compose([LOAD])
    with pytest.raises(ValueError, match='set reduce_zero_label=False'):
        load(dict(seg_map_path='0.png', reduce_zero_label=True, label_map={}))
