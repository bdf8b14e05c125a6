"""labelme's files, as its label_file.py writes them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from .converted import assert_ellipse, box_mask, converted
from .files import HEIGHT, WIDTH, write_image, write_json


def shape(label, points, kind='polygon', **fields):
    return (
        dict(
            label=label,
            points=points,
            group_id=None,
            description='',
            shape_type=kind,
            flags={},
        )
        | fields
    )


def write_labelme(path, *shapes, image=None, **fields):
    """labelme 5.5; the image data are ignored even if they are wrong."""
    content = dict(
        version='5.5.0',
        flags={},
        shapes=list(shapes),
        imagePath=image or f'{path.stem}.png',
        imageData='bm8gaW1hZ2U=',
        imageHeight=HEIGHT,
        imageWidth=WIDTH,
    )
    return write_json(path, content | fields)


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, 'PNG')
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def source(tmp_path):
    """Two images: one to change, and one for the other split."""
    root = tmp_path / 'source'
    for name in 'ab':
        write_image(root / f'{name}.png')
        write_labelme(root / f'{name}.json')
    return root


SQUARE = [[5, 10], [15, 10], [15, 16], [5, 16]]


def test_a_polygon_stays_a_polygon(source):
    write_labelme(source / 'a.json', shape('cat', SQUARE))
    result = converted(source, val=0.5)
    (cat,) = result.objects['a.png']
    assert cat.segmentation == [[5, 10, 15, 10, 15, 16, 5, 16]]
    assert (cat.name, cat.box, cat.area, cat.is_crowd) == ('cat', [5, 10, 10, 6], 60, 0)
    np.testing.assert_array_equal(cat.mask, box_mask(5, 10, 10, 6))


def test_only_rectangles_have_no_masks(source):
    # From the lower right to the upper left corner.
    write_labelme(source / 'a.json', shape('cat', [[15, 16], [5, 10]], 'rectangle'))
    result = converted(source, val=0.5)
    (cat,) = result.objects['a.png']
    assert cat.box == [5, 10, 10, 6]
    assert cat.segmentation is None
    assert 'finetune_faster_rcnn_lightvit_t.py' in result.summary


def test_rectangles_among_polygons_get_masks(source):
    write_labelme(
        source / 'a.json',
        shape('cat', SQUARE),
        shape('dog', [[20, 5], [30, 9]], 'rectangle'),
    )
    result = converted(source, val=0.5)
    dog = result.objects['a.png'][1]
    np.testing.assert_array_equal(dog.mask, box_mask(20, 5, 10, 4))
    assert (
        'boxes that got a rectangular mask, because other objects have masks (1)'
        in result.summary
    )
    assert 'finetune_mask_rcnn_lightvit_t.py' in result.summary


def test_a_circle_is_a_centre_and_a_point_on_its_edge(source):
    write_labelme(source / 'a.json', shape('cat', [[20, 15], [26, 23]], 'circle'))
    (cat,) = converted(source, val=0.5).objects['a.png']
    assert_ellipse(cat.mask, 20, 15, 10, 10)
    assert cat.area == pytest.approx(np.pi * 100, rel=0.03)
    np.testing.assert_allclose(cat.box, [10, 5, 20, 20], atol=0.5)


def test_a_mask_is_a_png_of_its_box(source):
    crop = np.random.default_rng(0).random((7, 9)) > 0.5
    crop[0, 0] = crop[-1, -1] = True
    points = [[3, 4], [11, 10]]  # labelme includes the last pixel
    write_labelme(source / 'a.json', shape('cat', points, 'mask', mask=png(crop)))
    (cat,) = converted(source, val=0.5).objects['a.png']
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[4:11, 3:12] = crop
    np.testing.assert_array_equal(cat.mask, expected)
    assert (cat.box, cat.area) == ([3, 4, 9, 7], crop.sum())


def test_shapes_of_a_group_are_one_object(source):
    square = shape('cat', SQUARE, group_id=1)
    write_labelme(
        source / 'a.json',
        square,
        shape('cat', [[20, 5], [30, 9]], 'rectangle', group_id=1),
        shape('dog', SQUARE, group_id=1),
    )
    cat, dog = converted(source, val=0.5).objects['a.png']
    np.testing.assert_array_equal(
        cat.mask, box_mask(5, 10, 10, 6) | box_mask(20, 5, 10, 4)
    )
    assert cat.box == [5, 5, 25, 11]
    assert (dog.name, dog.box) == ('dog', [5, 10, 10, 6])


def test_a_group_of_a_mask_and_a_polygon(source):
    write_labelme(
        source / 'a.json',
        shape('cat', SQUARE, group_id=1),
        shape('cat', [[20, 5], [21, 6]], 'mask', mask=png(np.ones((2, 2))), group_id=1),
    )
    (cat,) = converted(source, val=0.5).objects['a.png']
    np.testing.assert_array_equal(
        cat.mask, box_mask(5, 10, 10, 6) | box_mask(20, 5, 2, 2)
    )


def test_version_3_has_neither_types_nor_sizes(source):
    """labelme 3.3: colours, and no shape_type, imageHeight and group_id."""
    old = dict(label='cat', line_color=None, fill_color=None, points=SQUARE)
    content = dict(
        version='3.3.0', flags={}, shapes=[old], imagePath='a.png', imageData=None
    )
    write_json(source / 'a.json', content)
    (cat,) = converted(source, val=0.5).objects['a.png']
    assert (cat.name, cat.area) == ('cat', 60)


def test_images_in_another_folder(source):
    r"""Windows writes \\; JSON files may be apart from the images."""
    (source / 'json').mkdir()
    for name in 'ab':
        (source / f'{name}.json').unlink()
        write_labelme(
            source / f'json/{name}.json', shape('cat', SQUARE), image=f'..\\{name}.png'
        )
    result = converted(source, val=0.5)
    assert sorted(result.objects) == ['a.png', 'b.png']


def test_what_is_no_object_is_counted(source):
    write_labelme(
        source / 'a.json',
        shape('cat', SQUARE),
        shape('cat', [[1, 1]], 'point'),
        shape('cat', [[1, 1], [5, 5]], 'line'),
        shape('cat', [[2, 2]], 'point'),
    )
    write_image(source / 'not_yet.png')
    result = converted(source, val=0.5)
    assert len(result.objects['a.png']) == 1
    assert 'left out: shapes of type point (2)' in result.summary
    assert f'{source / "a.json"}: shape 2' in result.summary
    assert 'left out: shapes of type line (1)' in result.summary
    assert 'left out: images that are not annotated (1)' in result.summary
    assert 'not_yet.png' in result.summary


@pytest.mark.parametrize(
    'bad, message',
    [
        (dict(points=[['x', 1], [2, 2], [3, 1]]), 'x'),
        (dict(points=[[1, 1]], shape_type='circle'), 'circle'),
        (dict(shape_type='mask', mask='!!'), 'PNG in base64'),
        (dict(points=SQUARE[::-1], shape_type='mask', mask=png(np.ones((30, 30)))),
         'leaves the image'),
        (dict(points=[[400, 1], [2, 2], [3, 1]]), '400.0 is far outside'),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_named(source, bad, message):
    write_labelme(source / 'a.json', shape('cat', SQUARE), shape('cat', SQUARE) | bad)
    with pytest.raises(ValueError, match=message) as error:
        converted(source, val=0.5)
    assert f'{source / "a.json"}: shape 1' in str(error.value)


def test_a_missing_label_is_an_error(source):
    bad = shape('cat', SQUARE)
    del bad['label']
    write_labelme(source / 'a.json', bad)
    with pytest.raises(ValueError, match=r"a.json: shape 0 \(polygon\) has no 'label'"):
        converted(source, val=0.5)


def test_another_size_is_an_error(source):
    write_labelme(source / 'a.json', imageWidth=50)
    with pytest.raises(ValueError, match='should be 50 x 30 pixels.*is 40 x 30'):
        converted(source, val=0.5)


def test_a_missing_image_is_an_error(source):
    (source / 'a.png').rename(source / 'a.PNG')
    with pytest.raises(FileNotFoundError, match="'a.png'.*but a.PNG: names must match"):
        converted(source, val=0.5)


def test_two_files_for_one_image_are_an_error(source):
    write_labelme(source / 'c.json', image='a.png')
    with pytest.raises(ValueError, match=r'a.png is in .*a.json and in .*c.json'):
        converted(source, val=0.5)
