"""COCO files as CVAT (datumaro), Label Studio, VIA and Roboflow export them."""

import json

import numpy as np
import pytest

from .converted import box_mask, converted
from .files import HEIGHT, WIDTH, write_image, write_json

mask_utils = pytest.importorskip('pycocotools.mask')

SQUARE = [5, 10, 15, 10, 15, 16, 5, 16]
CATEGORIES = [dict(id=4, name='cat'), dict(id=2, name='ant')]


def annotation(image_id, category_id=4, **fields):
    return (
        dict(
            id=0,
            image_id=image_id,
            category_id=category_id,
            segmentation=[SQUARE],
            bbox=[5, 10, 10, 6],
            area=60,
            iscrowd=0,
        )
        | fields
    )


def content(names, *annotations, categories=CATEGORIES, size=(WIDTH, HEIGHT)):
    """Images are numbered from 0."""
    images = [
        dict(id=i, file_name=name, width=size[0], height=size[1])
        for i, name in enumerate(names)
    ]
    return dict(images=images, annotations=list(annotations), categories=categories)


@pytest.fixture
def source(tmp_path):
    """CVAT's layout of a task without subsets."""
    root = tmp_path / 'source'
    for name in 'ab':
        write_image(root / f'images/default/{name}.png')
    return root


def write(source, *annotations, names=('a.png', 'b.png'), **options):
    path = source / 'annotations/instances_default.json'
    write_json(path, content(names, *annotations, **options))


def objects(source, *annotations, **options):
    write(source, *annotations)
    return converted(source, val=0.5, **options).objects['a.png']


def test_polygons(source):
    cat, ant = objects(source, annotation(0), annotation(0, 2))
    assert (cat.name, ant.name) == ('cat', 'ant')
    assert cat.segmentation == [SQUARE]
    assert (cat.box, cat.area, cat.is_crowd) == ([5, 10, 10, 6], 60, False)
    assert (cat.mask == box_mask(5, 10, 10, 6)).all()


def test_categories_keep_their_order_and_ids_start_at_1(source):
    write(source, annotation(0), annotation(0), annotation(1))
    result = converted(source, val=0.5)
    assert result.classes == dict(train=['cat', 'ant'], val=['cat', 'ant'])
    for split in ('train', 'val'):
        read = json.loads((result.out / f'{split}.json').read_text())
        for part in ('images', 'annotations', 'categories'):
            ids = [x['id'] for x in read[part]]
            assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize('is_compressed', [False, True])
def test_run_length_codes(source, is_compressed):
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.7
    code = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    code['counts'] = code['counts'].decode()
    if not is_compressed:
        flat = mask.ravel(order='F').tolist()
        counts, last = [0], False
        for value in flat:
            if value != last:
                counts.append(0)
                last = value
            counts[-1] += 1
        code['counts'] = counts
    (cat,) = objects(source, annotation(0, segmentation=code))
    assert (cat.mask == mask).all()
    assert cat.area == mask.sum()


def test_brush_masks_of_cvat_are_crowds(source):
    """datumaro sets iscrowd for every mask that is no polygon."""
    counts = mask_utils.encode(np.asfortranarray(box_mask(3, 4, 5, 6), dtype=np.uint8))[
        'counts'
    ].decode()
    brush = annotation(
        0, segmentation=dict(size=[HEIGHT, WIDTH], counts=counts), iscrowd=1
    )
    write(source, brush)
    result = converted(source, val=0.5)
    assert [x.is_crowd for x in result.objects['a.png']] == [True]
    assert (
        'crowds, which training ignores; --crowds-as-objects makes them objects (1)'
        in result.summary
    )


def test_crowds_become_objects(source):
    brush = annotation(0, iscrowd=1)
    (cat,) = objects(source, brush, crowds_as_objects=True)
    assert not cat.is_crowd


def test_without_crowds_the_option_is_an_error(source):
    with pytest.raises(ValueError, match='the dataset has no crowds'):
        objects(source, annotation(0), crowds_as_objects=True)


def test_subsets_of_cvat_are_the_split(tmp_path):
    """Both subsets have a file of the same name."""
    source = tmp_path / 'source'
    for subset, size in (('Train', (40, 30)), ('Validation', (20, 10))):
        write_image(source / f'images/{subset}/1.png', size)
        write_json(
            source / f'annotations/instances_{subset}.json',
            content(['1.png'], annotation(0, bbox=[1, 1, 5, 5]), size=size),
        )
    result = converted(source)
    assert result.images == dict(train=['1.png'], val=['1.png'])


def test_roboflow(tmp_path):
    """Categories from 0, of which the first only groups the others."""
    source = tmp_path / 'source'
    categories = [
        dict(id=0, name='pets', supercategory='none'),
        dict(id=1, name='cat', supercategory='pets'),
    ]
    for split in ('train', 'valid', 'test'):
        write_image(source / split / '1.png')
        write_json(
            source / split / '_annotations.coco.json',
            content(['1.png'], annotation(0, 1), categories=categories),
        )
    result = converted(source)
    assert result.images == dict(train=['1.png'], val=['1.png'])
    assert result.classes['train'] == ['cat']
    assert 'left out: categories that only group others (1)' in result.summary
    assert 'left out: images of test (1)' in result.summary


@pytest.mark.parametrize(
    'prefix',
    ['', 'images/', 'images\\', '..\\..\\label-studio\\data\\media\\upload\\1\\'],
)
def test_label_studio(tmp_path, prefix):
    """result.json and images/; boxes have an empty segmentation."""
    source = tmp_path / 'source'
    for name in 'ab':
        write_image(source / f'images/0c1d-{name}.png')
    boxes = annotation(0, segmentation=[], ignore=0)
    names = [f'{prefix}0c1d-{name}.png' for name in 'ab']
    write_json(source / 'result.json', content(names, boxes, size=(None, None)))
    result = converted(source, val=0.5)
    (cat,) = result.objects['0c1d-a.png']
    assert (cat.box, cat.area, cat.segmentation) == ([5, 10, 10, 6], 60, None)


def test_points_of_via_are_counted(source):
    point = annotation(0, segmentation=[[]], bbox=[], area=[], keypoints=[1, 2, 2])
    write(source, annotation(0), point)
    result = converted(source, val=0.5)
    assert len(result.objects['a.png']) == 1
    assert 'left out: annotations without box and mask (1)' in result.summary
    assert 'annotations[1]' in result.summary


def test_keypoint_files_are_left_out(source):
    write(source, annotation(0))
    keypoints = [dict(id=4, name='cat', keypoints=['nose'])]
    write_json(
        source / 'annotations/person_keypoints_default.json',
        content(['a.png'], annotation(0), categories=keypoints),
    )
    result = converted(source, val=0.5)
    assert len(result.objects['a.png']) == 1
    assert 'left out: files of keypoints (1)' in result.summary


@pytest.mark.parametrize(
    'bad, message',
    [
        (dict(image_id=7), 'image_id 7 is not in the file'),
        (dict(category_id=7), 'category_id 7 is not in the file'),
        (dict(segmentation=[], bbox=[1, 2, 3]), 'bbox should be x, y, width, height'),
        (dict(segmentation=[SQUARE[:-1]]), 'should be x, y in turn'),
        (dict(segmentation=dict(size=[WIDTH, HEIGHT], counts=[1200])),
         r'height and width \[30, 40\]'),
        (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[7])), 'do not add up'),
        (dict(segmentation=dict(counts=[1200])), "has no 'size'"),
    ],
)  # fmt: skip
def test_a_wrong_annotation_is_named(source, bad, message):
    with pytest.raises(ValueError, match=message) as error:
        objects(source, annotation(0), annotation(0) | bad)
    assert 'instances_default.json: annotations[1]' in str(error.value)


def test_a_missing_field_is_an_error(source):
    bad = annotation(0)
    del bad['category_id']
    with pytest.raises(ValueError, match=r"annotations\[0\] has no 'category_id'"):
        objects(source, bad)


def test_a_category_without_a_name_is_an_error(source):
    write(source, categories=[dict(id=1)])
    with pytest.raises(ValueError, match="categories in .*default.json has no 'name'"):
        converted(source, val=0.5)


def test_another_size_is_an_error(source):
    write(source, annotation(0), size=(HEIGHT, WIDTH))
    with pytest.raises(ValueError, match=r'images\[0\]: the image should be 30 x 40'):
        converted(source, val=0.5)


def test_a_missing_image_is_an_error(source):
    write(source, names=['a.png', 'c.png'])
    with pytest.raises(FileNotFoundError, match=r"no image 'c.png' in .*source"):
        converted(source, val=0.5)


def test_different_categories_are_an_error(source):
    write(source, annotation(0))
    write_json(
        source / 'annotations/more.json', content(['b.png'], categories=CATEGORIES[:1])
    )
    with pytest.raises(ValueError, match='in only one of them: ant'):
        converted(source, val=0.5)
