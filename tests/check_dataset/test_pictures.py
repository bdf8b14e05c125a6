"""Faults in image files and segmentation maps."""

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from lightvit_mm.check_dataset import pictures, sources

from .datasets import HEIGHT, WIDTH, only, train_image, write_image


def set_loader(pets, **options):
    pipeline = pets.cfg['train_dataloader']['dataset']['pipeline']
    pipeline[0] = dict(type='LoadImageFromFile', **options)


def write_pixels(path, pixels, suffix):
    """Write an image in the format of a suffix, which its name may not have."""
    path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())


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


def test_an_empty_image_is_found(pets):
    train_image(pets).write_bytes(b'')
    assert (
        'the file is empty' in only(pets.check(), pictures.BROKEN, train_image(pets))[0]
    )


def test_a_truncated_image_that_cv2_fills_up_is_found(pets, monkeypatch):
    """Some versions of cv2 do."""
    data = train_image(pets).read_bytes()
    train_image(pets).write_bytes(data[:-20])
    filled = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: filled)
    found = only(pets.check(), pictures.BROKEN, train_image(pets))
    assert 'truncated' in found[0]


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_values_that_the_loader_cannot_read_are_found(pets, dtype):
    path = train_image(pets)
    Image.fromarray(np.ones((HEIGHT, WIDTH), dtype)).save(path, 'TIFF')
    with pytest.raises(ValueError, match='failed to load'):
        LoadImageFromFile().transform(dict(img_path=str(path)))
    mode = dict(f='F', i='I')[np.dtype(dtype).kind]
    found = only(pets.check(), pictures.BROKEN, path)
    assert (
        "cv2 cannot decode it with color_type='color'; Pillow can, its mode is "
        f'{mode!r}' in found[0]
    )


def test_the_loader_of_the_dataset_decides_what_can_be_read(pets):
    path = train_image(pets)
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.float32)).save(path, 'TIFF')
    set_loader(pets, color_type='unchanged')
    assert pets.check().findings == []


def test_an_image_that_is_too_large_for_pillow_is_fine(pets, monkeypatch):
    write_pixels(train_image(pets), np.zeros((HEIGHT, WIDTH, 3), np.uint8), '.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', WIDTH * HEIGHT // 3)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(train_image(pets))
    assert pets.check().findings == []

    set_loader(pets, imdecode_backend='pillow')
    found = {(x.kind, x.file) for x in pets.check().findings}
    assert (pictures.BROKEN, str(train_image(pets))) in found


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.pgm'])
@pytest.mark.parametrize('num_channels', [1, 3])
def test_16_bit_images_are_a_note_with_their_values(pets, suffix, num_channels):
    if (suffix, num_channels) == ('.pgm', 3):
        suffix = '.ppm'
    path = train_image(pets)
    pixels = np.full((HEIGHT, WIDTH, num_channels), 4095, np.uint16)
    pixels[0] = 300
    write_pixels(path, pixels, suffix)
    loaded = LoadImageFromFile().transform(dict(img_path=str(path)))['img']
    found = only(pets.check(), pictures.REDUCED, path)
    assert (
        f'values 300 to 4095 of 65535, {loaded.min()} to {loaded.max()} after loading'
        in found[0]
    )


def test_16_bit_images_that_stay_so_are_fine(pets):
    pixels = np.full((HEIGHT, WIDTH), 4095, np.uint16)
    write_pixels(train_image(pets), pixels, '.png')
    set_loader(pets, color_type='unchanged')
    assert pets.check().findings == []


def test_a_file_name_in_another_case_is_named(pets):
    train_image(pets).rename(train_image(pets).with_name('1.JPG'))
    found = only(pets.check(), pictures.MISSING, train_image(pets))
    assert found[0].endswith('; 1.JPG exists')


def test_a_link_to_a_missing_image_is_named(pets, tmp_path):
    train_image(pets).unlink()
    train_image(pets).symlink_to(tmp_path / 'gone.jpg')
    [entry] = only(pets.check(), pictures.MISSING, train_image(pets))
    assert entry.endswith(
        f'; it is a link to {tmp_path / "gone.jpg"}, which is missing'
    )


def test_a_missing_folder_of_images_is_one_finding(pets):
    (pets.root / 'train').rename(pets.root / 'images')
    [entry] = only(pets.check(), pictures.MISSING, pets.root / 'train')
    assert '3 files' in entry and '0.jpg' in entry


@pytest.mark.parametrize('name', ['pets', 'maps', 'folders'])
def test_a_missing_data_root_is_one_finding(name, request, tmp_path):
    data = request.getfixturevalue(name)
    root = str(tmp_path / 'no')
    dataset = data.cfg['train_dataloader']['dataset']
    dataset.get('dataset', dataset)['data_root'] = root
    [entry] = only(data.check(), sources.NO_DATA_ROOT, root)
    assert 'train_dataloader.dataset' in entry


def test_an_image_of_another_size_is_found(pets):
    write_image(train_image(pets), 20, 15)
    found = only(pets.check(), pictures.OTHER_SIZE, train_image(pets))
    assert 'annotated 40 x 30, loaded 20 x 15' in found[0]


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_an_image_rotated_without_its_annotations_is_found(pets, orientation):
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
    set_loader(pets, color_type='color_ignore_orientation')
    assert pets.check().findings == []


def test_a_broken_image_of_a_class_is_found(folders):
    path = folders.root / 'train/a/1.jpg'
    path.write_text('no image')
    [entry] = only(folders.check(), pictures.BROKEN, path)
    assert entry.endswith('UnidentifiedImageError: cannot identify image file')


def test_an_empty_image_is_called_empty(folders):
    path = folders.root / 'train/a/1.jpg'
    path.write_bytes(b'')
    [entry] = only(folders.check(), pictures.BROKEN, path)
    assert entry.endswith('the file is empty')


def test_a_map_of_another_size_is_found(maps):
    maps.write_map('train', 1, [0], size=(20, 30))
    found = only(maps.check(), pictures.OTHER_SIZE, maps.root / 'img/train/1.jpg')
    assert 'annotated 20 x 30, loaded 40 x 30' in found[0]


def test_a_map_of_a_rotated_image_is_found(maps):
    path = write_image(maps.root / 'img/train/1.jpg', orientation=6)
    only(maps.check(), pictures.ROTATED, path)
