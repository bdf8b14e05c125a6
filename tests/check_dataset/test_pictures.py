"""Faults in image files and segmentation maps."""

import pytest
from PIL import Image

from lightvit_mm.check_dataset import pictures

from .datasets import HEIGHT, WIDTH, only, train_image, write_image


def test_a_missing_image_is_found(pets):
    train_image(pets).unlink()
    found = only(pets.check(), pictures.MISSING, train_image(pets))
    assert found == [f'image 1 of {pets.root / "train.json"}']


@pytest.mark.parametrize('end', [0, 10, -20])
def test_a_broken_image_is_found(pets, end):
    data = train_image(pets).read_bytes()
    train_image(pets).write_bytes(data[:end])
    found = only(pets.check(), pictures.BROKEN, train_image(pets))
    assert 'image 1 of' in found[0]


def test_an_image_of_another_size_is_found(pets):
    write_image(train_image(pets), 20, 15)
    found = only(pets.check(), pictures.OTHER_SIZE, train_image(pets))
    assert 'annotated 40 x 30, loaded 20 x 15' in found[0]


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_an_image_rotated_without_its_annotations_is_found(pets, orientation):
    import mmcv

    write_image(train_image(pets), orientation=orientation)
    assert mmcv.imread(str(train_image(pets))).shape == (WIDTH, HEIGHT, 3)
    found = only(pets.check(), pictures.ROTATED, train_image(pets))
    assert f'orientation {orientation}, annotated 40 x 30, loaded 30 x 40' in found[0]


def test_an_image_rotated_with_its_annotations_is_fine(pets):
    write_image(train_image(pets), HEIGHT, WIDTH, orientation=6)
    assert pets.check().findings == []


def test_an_upside_down_image_is_a_note(pets):
    write_image(train_image(pets), orientation=3)
    found = only(pets.check(), pictures.MAYBE_ROTATED, train_image(pets))
    assert 'orientation 3' in found[0]


@pytest.mark.parametrize('orientation', [3, 6])
def test_a_loader_that_does_not_rotate_images_is_fine(pets, orientation):
    write_image(train_image(pets), orientation=orientation)
    pets.cfg['train_dataloader']['dataset']['pipeline'][0] = dict(
        type='LoadImageFromFile', color_type='color_ignore_orientation'
    )
    assert pets.check().findings == []


def test_a_broken_image_of_a_class_is_found(folders):
    path = folders.root / 'train/a/1.jpg'
    path.write_text('no image')
    only(folders.check(), pictures.BROKEN, path)


def test_a_missing_map_is_found(maps):
    maps.path('train', 1).unlink()
    found = only(maps.check(), pictures.MAP_MISSING, maps.path('train', 1))
    assert str(maps.root / 'img/train/1.jpg') in found[0]


def test_a_broken_map_is_found(maps):
    data = maps.path('val', 1).read_bytes()
    maps.path('val', 1).write_bytes(data[: len(data) // 2])
    only(maps.check(), pictures.MAP_BROKEN, maps.path('val', 1))


def test_a_map_of_another_size_is_found(maps):
    maps.write_map('train', 1, [0], size=(20, 30))
    found = only(maps.check(), pictures.OTHER_SIZE, maps.root / 'img/train/1.jpg')
    assert 'annotated 20 x 30, loaded 40 x 30' in found[0]


def test_a_map_of_a_rotated_image_is_found(maps):
    path = write_image(maps.root / 'img/train/1.jpg', orientation=6)
    only(maps.check(), pictures.ROTATED, path)


def test_a_map_of_colours_is_found(maps):
    path = maps.path('train', 1)
    Image.new('RGB', (WIDTH, HEIGHT)).save(path)
    assert '3 channels' in only(maps.check(), pictures.COLOURED, path)[0]


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
    found = only(maps.check(), pictures.UNKNOWN_VALUE, path)
    assert f'values {values[1]}; the classes are 0 to 2' in found[0]


def test_reduce_zero_label_shifts_the_values(maps):
    maps.train()['reduce_zero_label'] = True
    maps.write_map('train', 0, [0, 1, 2, 3, 255])
    path = maps.write_map('train', 1, [0, 3, 4])
    found = only(maps.check(), pictures.UNKNOWN_VALUE, path)
    assert 'values 4 (label 3)' in found[0]


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_a_value_that_one_head_does_not_ignore_is_found(maps, head):
    path = maps.write_map('train', 1, [0, 9])
    for node in ('decode_head', 'auxiliary_head'):
        maps.cfg['model'][node] = dict(num_classes=3, ignore_index=9)
    maps.write_map('train', 0, [0])
    maps.write_map('train', 2, [0])
    for i in range(3):
        maps.write_map('val', i, [0])
    assert maps.check().findings == []
    maps.cfg['model'][head]['ignore_index'] = 255
    assert 'values 9' in only(maps.check(), pictures.UNKNOWN_VALUE, path)[0]
