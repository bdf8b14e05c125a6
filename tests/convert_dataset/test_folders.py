"""Folders of classes, and of images and masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightvit_mm.convert_dataset.convert import convert

from .files import write_image, write_text


@pytest.fixture
def source(tmp_path):
    return tmp_path / 'source'


def files(out):
    return sorted(
        path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()
    )


def write_mask(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = sum(path.stem.encode()) % 5
    Image.fromarray(np.full(size[::-1], shade, np.uint8)).save(path)
    return path


def pairs(out, suffix='.png'):
    """Each image of the result with its mask."""
    images = [x for x in files(out) if x.startswith('img_dir')]
    masks = [x for x in files(out) if x.startswith('ann_dir')]
    assert masks == [
        x.replace('img_dir', 'ann_dir').rsplit('.', 1)[0] + suffix for x in images
    ]
    return images


# Classes


def test_each_class_is_split(source, tmp_path):
    for name, number in (('cat', 10), ('dog', 5), ('fox', 2)):
        for i in range(number):
            write_image(source / name / f'{i}.jpg')
    summary = convert(source, tmp_path / 'out', val=0.2)
    found = files(tmp_path / 'out')
    numbers = {
        (split, name): sum(x.startswith(f'{split}/{name}/') for x in found)
        for split in ('train', 'val')
        for name in ('cat', 'dog', 'fox')
    }
    assert numbers == {
        ('train', 'cat'): 8, ('val', 'cat'): 2,
        ('train', 'dog'): 4, ('val', 'dog'): 1,
        ('train', 'fox'): 1, ('val', 'fox'): 1,
    }  # fmt: skip
    assert 'configs/finetune_lightvit_t.py' in summary


def test_a_class_of_one_image_cannot_be_split(source, tmp_path):
    for name in ('cat/1', 'cat/2', 'dog/1'):
        write_image(source / f'{name}.jpg')
    with pytest.raises(ValueError, match='class dog: A split needs two images'):
        convert(source, tmp_path / 'out', val=0.2)


def test_folders_below_a_class(source, tmp_path):
    for name in ('cat/x/1', 'cat/y/1', 'dog/1', 'dog/2'):
        write_image(source / f'{name}.jpg')
    convert(source, tmp_path / 'out', val=0.5)
    found = [x.split('/', 1)[1] for x in files(tmp_path / 'out')]
    assert sorted(found) == ['cat/x/1.jpg', 'cat/y/1.jpg', 'dog/1.jpg', 'dog/2.jpg']


def test_folders_of_splits(source, tmp_path):
    """As Roboflow exports them."""
    for split in ('train', 'valid', 'test'):
        for name in ('cat', 'dog'):
            write_image(source / split / name / '1.jpg')
    convert(source, tmp_path / 'out')
    assert files(tmp_path / 'out') == [
        f'{split}/{name}/1.jpg' for split in ('train', 'val') for name in ('cat', 'dog')
    ]


def test_only_train_is_no_split(source, tmp_path):
    for name in ('cat/1', 'cat/2', 'dog/1', 'dog/2'):
        write_image(source / f'train/{name}.jpg')
    convert(source, tmp_path / 'out', val=0.5)
    assert len(files(tmp_path / 'out')) == 4


def test_a_class_may_be_called_train(source, tmp_path):
    for name in ('bus/1', 'bus/2', 'train/1', 'train/2'):
        write_image(source / f'{name}.jpg')
    convert(source, tmp_path / 'out', val=0.5)
    folders = {x.rsplit('/', 1)[0] for x in files(tmp_path / 'out')}
    assert folders == {'train/bus', 'val/bus', 'train/train', 'val/train'}


def test_hidden_folders_are_no_classes(source, tmp_path):
    for name in ('cat/1', 'cat/2', 'dog/1', 'dog/2'):
        write_image(source / f'{name}.jpg')
    write_image(source / '.ipynb_checkpoints/1.jpg')
    write_image(source / '__MACOSX/cat/1.jpg')
    write_image(source / 'cat/._1.jpg')
    convert(source, tmp_path / 'out', val=0.5)
    assert len(files(tmp_path / 'out')) == 4


def test_images_of_no_class_are_counted(source, tmp_path):
    for name in ('cat/1', 'cat/2', 'dog/1', 'dog/2', 'stray'):
        write_image(source / f'{name}.jpg')
    summary = convert(source, tmp_path / 'out', val=0.5)
    assert 'left out: images in no class folder (1)' in summary


# Masks


@pytest.mark.parametrize(
    'image, mask',
    [
        ('images/{}.jpg', 'masks/{}.png'),
        ('imgs/{}.jpg', 'masks/{}_mask.png'),
        ('JPEGImages/{}.jpg', 'SegmentationClass/{}.png'),
        ('images/far/{}.tif', 'annotations/far/{}.png'),
        ('images/{}.tif', 'masks/{}.tif'),
    ],
)
def test_images_and_masks(source, tmp_path, image, mask):
    out = tmp_path / 'out'
    for i in range(5):
        write_image(source / image.format(i))
        write_mask(source / mask.format(i))
    write_text(source / 'classes.txt', 'background', 'road')
    summary = convert(source, out, val=0.4)
    images = pairs(out, Path(mask).suffix)
    assert sorted(x.split('/')[1] for x in images) == ['train'] * 3 + ['val'] * 2
    assert (out / 'classes.txt').read_text() == 'background\nroad\n'
    for name in images:
        written = out / name.replace('img_dir', 'ann_dir').rsplit('.', 1)[0]
        original = source / mask.format(written.name)
        assert (
            written.with_suffix(original.suffix).read_bytes() == original.read_bytes()
        )
    assert 'finetune_semantic_fpn_lightvit_t.py' in summary


def test_splits_above_or_below(source, tmp_path):
    for i, split in enumerate(('train', 'val')):
        write_image(source / f'{split}/images/{i}.png')
        write_mask(source / f'{split}/masks/{i}.png')
    summary = convert(source, tmp_path / 'out')
    assert pairs(tmp_path / 'out') == [
        'img_dir/train/0.png', 'img_dir/val/1.png',
    ]  # fmt: skip
    assert 'Name the values of the masks in' in summary


def test_lists_of_voc_and_cvat(source, tmp_path):
    """VOC has masks for some of its images."""
    for i in range(3):
        write_image(source / f'JPEGImages/{i}.jpg')
    for i in range(2):
        write_mask(source / f'SegmentationClass/{i}.png')
        write_mask(source / f'SegmentationObject/{i}.png')
    write_text(source / 'ImageSets/Segmentation/Train.txt', '1')
    write_text(source / 'ImageSets/Segmentation/Validation.txt', '0')
    summary = convert(source, tmp_path / 'out')
    assert pairs(tmp_path / 'out') == ['img_dir/train/1.jpg', 'img_dir/val/0.jpg']
    assert 'left out: images of neither train.txt nor val.txt (1)' in summary


def test_an_image_without_a_mask_is_an_error(source, tmp_path):
    for i in range(3):
        write_image(source / f'images/{i}.jpg')
    write_mask(source / 'masks/0.png')
    with pytest.raises(FileNotFoundError, match=r'1.jpg has no mask'):
        convert(source, tmp_path / 'out', val=0.5)


def test_one_mask_for_two_images_is_an_error(source, tmp_path):
    for suffix in ('.jpg', '.tif'):
        write_image(source / f'images/0{suffix}')
    write_mask(source / 'masks/0.png')
    with pytest.raises(ValueError, match=r'0.png is in .*0.jpg and in .*0.tif'):
        convert(source, tmp_path / 'out', val=0.5)


def test_lossy_masks_are_an_error(source, tmp_path):
    for i in range(2):
        write_image(source / f'images/{i}.jpg')
        write_mask(source / f'masks/{i}.jpg')
    with pytest.raises(ValueError, match=r'0.jpg should end in \.png, \.tif'):
        convert(source, tmp_path / 'out', val=0.5)


def test_a_mask_of_another_size_is_an_error(source, tmp_path):
    for i in range(2):
        write_image(source / f'images/{i}.jpg')
        write_mask(source / f'masks/{i}.png', size=(20, 30))
    with pytest.raises(ValueError, match=r'0.png: the image should be 20 x 30 pixels'):
        convert(source, tmp_path / 'out', val=0.5)


def test_crowds_are_an_error(source, tmp_path):
    for name in ('cat/1', 'cat/2', 'dog/1', 'dog/2'):
        write_image(source / f'{name}.jpg')
    with pytest.raises(ValueError, match='format classes has no crowds'):
        convert(source, tmp_path / 'out', val=0.5, crowds_as_objects=True)
