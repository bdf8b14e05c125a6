"""Faults in segmentation maps."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm.check_dataset import any_dataset, sources
from lightvit_mm.check_dataset.maps import (
    COLOURED,
    MAP_BROKEN,
    MAP_MISSING,
    MOSTLY_IGNORED,
    NO_CLASS,
    ONE_CLASS,
    ONLY_255,
    UNKNOWN_VALUE,
    map_objects,
    map_tasks,
)
from lightvit_mm.check_dataset.reading import read_files

from .datasets import HEIGHT, WIDTH, only, read_config

NUM_PIXELS = WIDTH * HEIGHT


def fill(maps, values, splits=('train', 'val')):
    """Give all maps of the splits the same values."""
    for split in splits:
        for i in range(3):
            maps.write_map(split, i, values)


def train_content(maps):
    from mmseg.registry import DATASETS

    source = sources.find_sources(read_config(maps.cfg), DATASETS)[0]
    with DefaultScope.overwrite_default_scope('mmseg'):
        return any_dataset.read(source, DATASETS, None)[0]


def test_a_missing_map_is_found(maps):
    maps.path('train', 1).unlink()
    found = only(maps.check(), MAP_MISSING, maps.path('train', 1))
    assert str(maps.root / 'img/train/1.jpg') in found[0]


def test_a_broken_map_is_found(maps):
    data = maps.path('val', 1).read_bytes()
    maps.path('val', 1).write_bytes(data[: len(data) // 2])
    only(maps.check(), MAP_BROKEN, maps.path('val', 1))


def test_a_map_of_colours_is_found(maps):
    path = maps.path('train', 1)
    Image.new('RGB', (WIDTH, HEIGHT)).save(path)
    assert '3 channels' in only(maps.check(), COLOURED, path)[0]


def test_a_map_with_a_palette_is_fine(maps):
    image = Image.open(maps.path('train', 1))
    image = image.convert('L')
    image.putpalette(list(range(256)) * 3)
    image.save(maps.path('train', 1))
    assert Image.open(maps.path('train', 1)).mode == 'P'
    assert maps.check().findings == []


@pytest.mark.parametrize('values', [[0, 3], [0, 254], [0, 256 + 1]])
def test_values_outside_the_classes_are_found(maps, values):
    path = maps.write_map('val', 1, values)
    found = only(maps.check(), UNKNOWN_VALUE, path)
    assert f'values {values[1]}; the classes are 0 to 2' in found[0]


def test_reduce_zero_label_shifts_the_values(maps):
    maps.train()['reduce_zero_label'] = True
    maps.write_map('train', 0, [0, 1, 2, 3, 255])
    path = maps.write_map('train', 1, [0, 3, 4])
    found = only(maps.check(), UNKNOWN_VALUE, path)
    assert 'values 4 (label 3)' in found[0]


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_a_value_that_one_head_does_not_ignore_is_found(maps, head):
    path = maps.write_map('train', 1, [0, 2, 9])
    for node in ('decode_head', 'auxiliary_head'):
        maps.cfg['model'][node] = dict(num_classes=3, ignore_index=9)
    maps.write_map('train', 0, [0, 1])
    maps.write_map('train', 2, [0, 1])
    fill(maps, [0, 1], ['val'])
    assert maps.check().findings == []
    maps.cfg['model'][head]['ignore_index'] = 255
    assert 'values 9' in only(maps.check(), UNKNOWN_VALUE, path)[0]


def test_a_missing_folder_of_maps_is_one_finding(maps):
    folder = maps.root / 'ann/train'
    folder.rename(maps.root / 'ann/training')
    [entry] = only(maps.check(), MAP_MISSING, folder)
    assert '3 files' in entry and '0.png' in entry


def test_masks_of_0_and_255_are_found(maps):
    """They look like two classes, but mmseg ignores 255."""
    from mmseg.evaluation import IoUMetric

    half = [0] * (NUM_PIXELS // 2)
    fill(maps, half + [255] * (NUM_PIXELS // 2), ['train'])
    [entry] = only(maps.check(), ONLY_255, maps.root / 'ann/train')
    assert 'only class 0 (sky)' in entry
    assert '50% of all pixels are ignored (values 255)' in entry
    assert '255: road' in ONLY_255.fix

    # The fault is real: a model that only predicts the background is perfect.
    truth = np.array(Image.open(maps.path('train', 0))).astype(np.int64)
    areas = IoUMetric.intersect_and_union(
        torch.zeros(HEIGHT, WIDTH, dtype=torch.long), torch.from_numpy(truth), 3, 255
    )
    scores = IoUMetric.total_area_to_metrics(
        *[area[None].sum(0) for area in areas], metrics=['mIoU']
    )
    assert np.nanmean(scores['IoU']) == 1


@pytest.mark.parametrize('values', [[0], [1, 1]])
def test_maps_of_one_class_are_found(maps, values):
    fill(maps, values, ['val'])
    [entry] = only(maps.check(), ONE_CLASS, maps.root / 'ann/val')
    assert f'only class {values[0]} (' in entry and 'no pixels are ignored' in entry


def test_masks_of_0_and_1_without_their_zero_are_found(maps):
    maps.train()['reduce_zero_label'] = True
    fill(maps, [0, 1], ['train'])
    [entry] = only(maps.check(), ONE_CLASS, maps.root / 'ann/train')
    assert 'only class 0 (sky); 50% of all pixels are ignored (values 0)' in entry


def test_two_classes_in_different_maps_are_fine(maps):
    for split in ('train', 'val'):
        for i in range(3):
            maps.write_map(split, i, [i])
    assert maps.check().findings == []


@pytest.mark.parametrize('split', ['train', 'val'])
def test_ignored_maps_are_found(maps, split):
    fill(maps, [255], [split])
    [entry] = only(maps.check(), NO_CLASS, maps.root / 'ann' / split)
    assert '100% of all pixels are ignored (values 255)' in entry


def test_mostly_ignored_pixels_are_a_note(maps):
    fill(maps, [0, 1, 255, 255, 255], ['train'])
    fill(maps, [0, 1], ['val'])
    maps.set_classes('sky', 'road')
    [entry] = only(maps.check(), MOSTLY_IGNORED, maps.root / 'ann/train')
    assert entry == '60% of all pixels are ignored (values 255)'


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('subset', [False, True])
def test_labels_equal_those_of_mmseg(maps, reduce_zero_label, subset):
    from mmseg.datasets import LoveDADataset
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.registry import DATASETS

    path = maps.write_map('train', 1, range(256))
    dataset = maps.train()
    dataset.update(
        type='LoveDADataset', img_suffix='.jpg', reduce_zero_label=reduce_zero_label
    )
    dataset['metainfo'] = dict(
        classes=('road', 'background') if subset else LoveDADataset.METAINFO['classes']
    )
    content = train_content(maps)
    with DefaultScope.overwrite_default_scope('mmseg'):
        results = dict(DATASETS.build(dict(dataset, pipeline=[])).get_data_info(1))
    assert results['seg_map_path'] == str(path)
    LoadAnnotations().transform(results)
    read = np.array(Image.open(path))
    values = content.map_reader(str(path)).values
    label_of_value = np.array([x.label for x in values])
    assert [x.stored for x in values] == list(range(256))
    np.testing.assert_array_equal(label_of_value[read], results['gt_seg_map'])


@pytest.fixture
def binary(maps):
    """Maps of 0 and 255, which classes.txt names sky and road."""
    for split in ('train', 'val'):
        maps.cfg[f'{split}_dataloader']['dataset'].update(
            type='lightvit_mm.MaskFolderDataset',
            mask_classes=['sky', 'road'],
            mask_values=[0, 255],
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='lightvit_mm.LoadSegMap'),
            ],
        )
    fill(maps, [0, 255])
    maps.set_classes('sky', 'road')
    return maps


def test_values_count_as_the_classes_that_the_dataset_makes_of_them(binary):
    binary.write_map('train', 1, [0, 0, 0, 255])
    assert binary.check().findings == []
    assert count_train_pixels(binary) == [
        (0, 0, NUM_PIXELS // 2),
        (0, 1, NUM_PIXELS // 2),
        (1, 0, NUM_PIXELS * 3 // 4),
        (1, 1, NUM_PIXELS // 4),
        (2, 0, NUM_PIXELS // 2),
        (2, 1, NUM_PIXELS // 2),
    ]


def test_colours_count_as_the_classes_that_the_dataset_makes_of_them(binary):
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:10, :, 0] = 255
    for split in ('train', 'val'):
        dataset = binary.cfg[f'{split}_dataloader']['dataset']
        dataset['mask_values'] = ['#000000', '#ff0000']
        for i in range(3):
            Image.fromarray(pixels).save(binary.path(split, i))
    assert binary.check().findings == []
    assert count_train_pixels(binary)[:2] == [
        (0, 0, NUM_PIXELS - 10 * WIDTH),
        (0, 1, 10 * WIDTH),
    ]


def count_train_pixels(maps):
    content = train_content(maps)
    objects = map_objects(content, read_files(map_tasks(content)))
    return sorted(zip(*(column.tolist() for column in objects)))


def test_a_map_that_the_transform_refuses_is_found(binary):
    path = binary.write_map('val', 1, [0, 254])
    [entry] = only(binary.check(), UNKNOWN_VALUE, path)
    assert '254' in entry and 'classes.txt does not list' in entry


def test_objects_of_maps_have_the_ignored_label(maps):
    maps.write_map('train', 1, [2, 255, 255, 255])
    maps.path('train', 2).unlink()
    content = train_content(maps)
    objects = map_objects(content, read_files(map_tasks(content)))
    of_second = objects.image == 1
    assert objects.label[of_second].tolist() == [2, 255]
    assert objects.area[of_second].tolist() == [NUM_PIXELS // 4, NUM_PIXELS * 3 // 4]
    assert set(objects.image) == {0, 1}
