"""Files of Pascal VOC, and of LabelImg's pascal_voc_io.py."""

import pytest

from .converted import converted
from .files import HEIGHT, WIDTH, write_image, write_text


def write_xml(path, *objects, filename=None, size=(WIDTH, HEIGHT), head=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'{head}<annotation><folder>VOC</folder>'
        f'<filename>{filename or path.stem + ".png"}</filename>'
        f'<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth>'
        f'</size><segmented>0</segmented>{"".join(objects)}</annotation>'
    )


def thing(name, *corners, difficult=0, more=''):
    box = ''.join(
        f'<{key}>{value}</{key}>'
        for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), corners)
    )
    return (
        f'<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>'
        f'<difficult>{difficult}</difficult><bndbox>{box}</bndbox>{more}</object>'
    )


@pytest.fixture
def source(tmp_path):
    """VOC's folders, with two images and no split."""
    root = tmp_path / 'source'
    for name in 'ab':
        write_image(root / f'JPEGImages/{name}.png')
        write_xml(root / f'Annotations/{name}.xml')
    return root


def objects(source, *things):
    write_xml(source / 'Annotations/a.xml', *things)
    return converted(source, val=0.5).objects['a.png']


def test_boxes_count_from_1_and_include_the_last_pixel(source):
    """The whole image, and one pixel row less on each side."""
    whole, inner = objects(
        source, thing('cat', 1, 1, WIDTH, HEIGHT), thing('dog', 2, 2, 39, 29)
    )
    assert (whole.name, whole.box) == ('cat', [0, 0, WIDTH, HEIGHT])
    assert (inner.name, inner.box) == ('dog', [1, 1, 38, 28])
    assert (whole.area, whole.segmentation) == (WIDTH * HEIGHT, None)


def test_difficult_objects_are_ignored_as_crowds_are(source):
    cat, dog = objects(
        source, thing('cat', 2, 3, 9, 9), thing('dog', 2, 3, 9, 9, difficult=1)
    )
    assert (cat.is_crowd, dog.is_crowd) == (False, True)


def test_the_split_of_voc_is_kept(source):
    for name in 'cd':
        write_image(source / f'JPEGImages/{name}.png')
        write_xml(source / f'Annotations/{name}.xml', thing('cat', 2, 3, 9, 9))
    sets = source / 'ImageSets/Main'
    write_text(sets / 'train.txt', 'c', 'a')
    write_text(sets / 'val.txt', 'b')
    write_text(sets / 'trainval.txt', 'a', 'b', 'c')
    write_text(sets / 'cat_train.txt', 'a 1', 'd -1')
    result = converted(source)
    assert result.images == dict(train=['a.png', 'c.png'], val=['b.png'])
    assert 'left out: images of neither train.txt nor val.txt (1)' in result.summary


def test_cvat_names_the_lists_by_its_subsets(source):
    write_text(source / 'ImageSets/Main/Train.txt', 'b')
    write_text(source / 'ImageSets/Main/Validation.txt', 'a')
    assert converted(source).images == dict(train=['b.png'], val=['a.png'])


def test_an_image_in_both_lists_is_an_error(source):
    write_text(source / 'ImageSets/Main/train.txt', 'a', 'b')
    write_text(source / 'ImageSets/Main/val.txt', 'b')
    with pytest.raises(ValueError, match=r'val.txt: b is also in the list of train'):
        converted(source)


def test_masks_of_the_same_name_are_not_taken_for_the_image(source):
    """VOC 2012 has SegmentationClass/a.png beside JPEGImages/a.jpg."""
    for name in 'ab':
        old = source / f'JPEGImages/{name}.png'
        write_image(old.with_suffix('.jpg'))
        old.unlink()
        write_image(source / f'SegmentationClass/{name}.png')
        write_xml(source / f'Annotations/{name}.xml', filename=f'{name}.jpg')
    result = converted(source, val=0.5)
    assert sorted(result.objects) == ['a.jpg', 'b.jpg']


def test_labelimg_writes_next_to_the_images(tmp_path):
    """An image that was renamed together with its file keeps its old filename."""
    source = tmp_path / 'source'
    for name in 'ab':
        write_image(source / f'{name}.png')
        write_xml(
            source / f'{name}.xml', thing('cat', 5, 5, 9, 9), filename='IMG_1.JPG'
        )
    result = converted(source, val=0.5)
    assert [x.box for x in result.objects['a.png']] == [[4, 4, 5, 5]]


def test_roboflow_names_the_splits_by_folders(tmp_path):
    source = tmp_path / 'source'
    for split in ('train', 'valid', 'test'):
        write_image(source / split / '1.png')
        write_xml(source / split / '1.xml', thing('cat', 5, 5, 9, 9))
    result = converted(source)
    assert result.images == dict(train=['1.png'], val=['1.png'])
    assert 'left out: images of test (1)' in result.summary


def test_boxes_beyond_the_border_are_clipped(source):
    write_xml(source / 'Annotations/a.xml', thing('cat', 30, 20, WIDTH + 5, HEIGHT + 3))
    result = converted(source, val=0.5)
    assert [x.box for x in result.objects['a.png']] == [[29, 19, 11, 11]]
    assert 'boxes that were clipped at the border of the image (1)' in result.summary


def test_boxes_without_area_are_counted(source):
    write_xml(source / 'Annotations/a.xml', thing('cat', 9, 9, 5, 5))
    result = converted(source, val=0.5)
    assert result.objects['a.png'] == []
    assert 'left out: objects thinner than a pixel in the image (1)' in result.summary


@pytest.mark.parametrize(
    'bad, message',
    [
        (thing('cat', 1, 'x', 3, 4), r"\(cat\): bndbox/ymin should be a number, .*'x'"),
        (thing('cat', 1, 2, 3), 'bndbox/ymax should be a number, but is None'),
        (thing('', 1, 2, 3, 4), 'has no name'),
        (thing('cat', 1, 2, 3, 4000), 'coordinate 4000.0 is far outside'),
    ],
)
def test_a_wrong_object_is_named(source, bad, message):
    with pytest.raises(ValueError, match=message) as error:
        objects(source, thing('cat', 1, 2, 3, 4), bad)
    assert f'{source / "Annotations/a.xml"}: object 1' in str(error.value)


def test_broken_xml_is_named(source):
    (source / 'Annotations/a.xml').write_text('<annotation><object></annotation>')
    with pytest.raises(ValueError, match=r'a.xml is not XML: mismatched tag: line 1'):
        converted(source, val=0.5)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_entities_are_refused(source, encoding):
    path = source / 'Annotations/a.xml'
    head = '<!DOCTYPE a [<!ENTITY x "xxx"><!ENTITY y "&x;&x;">]>'
    write_xml(path, thing('&y;', 1, 2, 3, 4), head=head)
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(ValueError, match='a.xml has a <!DOCTYPE>'):
        converted(source, val=0.5)


def test_another_size_is_an_error(source):
    write_xml(source / 'Annotations/a.xml', size=(WIDTH, 50))
    with pytest.raises(ValueError, match=r'a.xml: the image should be 40 x 50 pixels'):
        converted(source, val=0.5)


def test_a_size_that_is_no_number_is_an_error(source):
    write_xml(source / 'Annotations/a.xml', size=('wide', 30))
    with pytest.raises(ValueError, match="a.xml: size: .*'wide'"):
        converted(source, val=0.5)


def test_a_size_of_0_is_unknown(source):
    write_xml(source / 'Annotations/a.xml', thing('cat', 2, 3, 9, 9), size=(0, 0))
    assert len(converted(source, val=0.5).objects['a.png']) == 1


def test_a_missing_image_is_an_error(source):
    (source / 'JPEGImages/a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"a.xml: there is no image 'a'"):
        converted(source, val=0.5)
