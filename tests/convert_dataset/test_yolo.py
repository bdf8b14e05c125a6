"""YOLO's files in the layouts of Ultralytics, Roboflow, CVAT, and LabelImg."""

import pytest

from .converted import box_mask, converted
from .files import HEIGHT, WIDTH, write_image, write_text

# 0.25 to 0.75 of 40 x 30 pixels
MIDDLE = '0.5 0.5 0.5 0.5'


@pytest.fixture
def source(tmp_path):
    """Ultralytics' layout, with two images in train and one in val."""
    root = tmp_path / 'source'
    write_text(root / 'data.yaml', 'nc: 2', "names: ['cat', 'dog']")
    for name in ('train/a', 'train/b', 'val/c'):
        write_image(root / f'images/{name}.png')
        write_text(root / f'labels/{name}.txt', f'1 {MIDDLE}')
    return root


def objects(source, *lines):
    write_text(source / 'labels/train/a.txt', *lines)
    return converted(source).objects['a.png']


def test_boxes_are_centre_and_size(source):
    dog, cat = objects(source, f'1 {MIDDLE}', '', '0 0.125 0.9 0.25 0.2')
    assert (dog.name, dog.box, dog.segmentation) == ('dog', [10, 7.5, 20, 15], None)
    assert cat.name == 'cat'
    assert cat.box == pytest.approx([0, 24, 10, 6])
    assert cat.area == pytest.approx(60)


def test_polygons(source):
    (cat,) = objects(source, '0 0.25 0.2 0.5 0.2 0.5 0.8 0.25 0.8')
    assert cat.segmentation == [pytest.approx([10, 6, 20, 6, 20, 24, 10, 24])]
    assert (cat.mask == box_mask(10, 6, 10, 18)).all()


def test_boxes_among_polygons_get_masks(source):
    _, dog = objects(
        source, '0 0.25 0.2 0.5 0.2 0.5 0.8 0.25 0.8', '1 0.5 0.5 0.5 0.6666667'
    )
    assert (dog.mask == box_mask(10, 5, 20, 20)).all()


def test_the_split_is_kept(source):
    result = converted(source)
    assert result.images == dict(train=['a.png', 'b.png'], val=['c.png'])
    assert result.classes == dict(train=['cat', 'dog'], val=['cat', 'dog'])


def test_roboflow(tmp_path):
    source = tmp_path / 'source'
    write_text(
        source / 'data.yaml',
        'train: ../train/images', 'val: ../valid/images', 'nc: 1', "names: ['cat']",
    )  # fmt: skip
    write_text(source / 'README.roboflow.txt', 'pets')
    for split in ('train', 'valid', 'test'):
        write_image(source / f'{split}/images/1.png')
        write_text(source / f'{split}/labels/1.txt', f'0 {MIDDLE}')
    result = converted(source)
    assert result.images == dict(train=['1.png'], val=['1.png'])
    assert 'left out: images of test (1)' in result.summary


def test_cvat_yolo_1_1(tmp_path):
    source = tmp_path / 'source'
    write_text(source / 'obj.data', 'classes = 1', 'names = data/obj.names')
    write_text(source / 'obj.names', 'cat')
    write_text(
        source / 'train.txt', 'data/obj_train_data/a.png', 'data/obj_train_data/b.png'
    )
    for name in 'ab':
        write_image(source / f'obj_train_data/{name}.png')
        write_text(source / f'obj_train_data/{name}.txt', f'0 {MIDDLE}')
    result = converted(source, val=0.5)
    assert sorted(result.objects) == ['a.png', 'b.png']
    assert [x.name for x in result.objects['a.png']] == ['cat']


def test_lists_name_the_splits(tmp_path):
    """Darknet and CVAT's Ultralytics export."""
    source = tmp_path / 'source'
    write_text(source / 'obj.names', 'cat')
    for name in 'abc':
        write_image(source / f'obj/{name}.png')
        write_text(source / f'obj/{name}.txt', f'0 {MIDDLE}')
    write_text(source / 'train.txt', 'data/obj/c.png', 'data/obj/b.png')
    write_text(source / 'val.txt', 'data/obj/a.png')
    assert converted(source).images == dict(train=['b.png', 'c.png'], val=['a.png'])


def test_labelimg_and_label_studio(tmp_path):
    """One folder, with classes.txt next to the labels."""
    source = tmp_path / 'source'
    write_text(source / 'classes.txt', 'cat', 'dog')
    for name in 'ab':
        write_image(source / f'{name}.png')
        write_text(source / f'{name}.txt', f'1 {MIDDLE}')
    result = converted(source, val=0.5)
    assert [x.name for x in result.objects['a.png']] == ['dog']


def test_an_image_without_labels_has_no_objects(source):
    write_image(source / 'images/train/empty.png')
    write_image(source / 'preview.png')
    result = converted(source)
    assert result.objects['empty.png'] == []
    assert 'preview.png' not in result.objects
    assert 'left out: images that are not annotated (1)' in result.summary


@pytest.mark.parametrize(
    'lines', [('names:', '  0: cat', '  1: dog'), ('names:', '- cat', '- dog')]
)
def test_names_are_a_list_or_numbered(source, lines):
    write_text(source / 'data.yaml', *lines)
    assert converted(source).classes['val'] == ['cat', 'dog']


@pytest.mark.parametrize(
    'lines, message',
    [
        (('names: [cat', 'x'), 'data.yaml is not YAML: while parsing'),
        (('nc: 3', 'names: [cat, dog]'), 'nc is 3, but names has 2'),
        (('names:', '  1: cat', '  2: dog'), '0 to 1, but has 1, 2'),
        (('names: cat',), 'names should be a list'),
        (('names: [cat, dog]', 'kpt_shape: [17, 3]'), 'has keypoints'),
        (('names: [cat, cat]',), 'unique names.*cat'),
        (('names: !!python/object/apply:os.getcwd []',), 'is not YAML'),
    ],
)
def test_wrong_names_are_an_error(source, lines, message):
    write_text(source / 'data.yaml', *lines)
    with pytest.raises(ValueError, match=message):
        converted(source)


def test_missing_names_are_an_error(source):
    (source / 'data.yaml').unlink()
    with pytest.raises(FileNotFoundError, match='no file that names the classes'):
        converted(source)


@pytest.mark.parametrize(
    'bad, message',
    [
        (f'2 {MIDDLE}', r'class 2 should be 0 to 1, the 2 classes of .*data.yaml'),
        (f'0.5 {MIDDLE}', 'class 0.5 should be'),
        (f'cat {MIDDLE}', "should be numbers, but is 'cat"),
        ('0 20 15 20 15', 'coordinates should be 0 to 1.*but are 20 15 20 15'),
        ('0 0.5 0.5 0.5 nan', 'coordinates should be 0 to 1'),
        (f'0 {MIDDLE} 0.9', 'but has 5'),
        ('0 0.5 0.5', 'but has 2'),
    ],
)
def test_a_wrong_line_is_named(source, bad, message):
    with pytest.raises(ValueError, match=message) as error:
        objects(source, f'0 {MIDDLE}', bad)
    assert f'{source / "labels/train/a.txt"}: line 2' in str(error.value)


def test_labels_without_an_image_are_an_error(source):
    (source / 'images/train/a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'a.txt has no image of the same name'):
        converted(source)


def test_boxes_stay_in_the_image(source):
    (cat,) = objects(source, '0 0.05 0.5 0.2 1.0')
    assert cat.box == pytest.approx([0, 0, 0.15 * WIDTH, HEIGHT])
