"""VIA's files, as via.js writes them: project_save and pack_via_metadata."""

import csv
import json

import pytest

from .converted import assert_ellipse, box_mask, converted
from .files import write_image, write_json

RECT = dict(name='rect', x=5, y=10, width=10, height=6)
POLYGON = dict(
    name='polygon', all_points_x=[5, 15, 15, 5], all_points_y=[10, 10, 16, 16]
)
CIRCLE = dict(name='circle', cx=20, cy=15, r=8.5)
ELLIPSE = dict(name='ellipse', cx=20, cy=15, rx=14, ry=5, theta=0.5)
POINT = dict(name='point', cx=3, cy=4)


def region(shape, **attributes):
    return dict(shape_attributes=shape, region_attributes=attributes)


def metadata(source, **regions):
    """_via_img_metadata: its keys are the name and the size of each file."""
    found = {}
    for stem, listed in regions.items():
        path = write_image(source / f'{stem}.png')
        size = path.stat().st_size
        found[f'{path.name}{size}'] = dict(
            filename=path.name, size=size, regions=listed, file_attributes={}
        )
    return found


def write_project(source, attributes=None, **regions):
    entries = metadata(source, **regions)
    content = dict(
        _via_settings=dict(ui={}, core={}, project=dict(name='pets')),
        _via_img_metadata=entries,
        _via_attributes=dict(region=attributes or {}, file={}),
        _via_data_format_version='2.0.10',
        _via_image_id_list=list(entries),
    )
    write_json(source / 'pets.json', content)


def shapes(source, *regions, **options):
    """The objects of one image; another one is in the other split."""
    write_project(source, a=list(regions), b=[])
    return converted(source, val=0.5, **options).objects['a.png']


@pytest.fixture
def source(tmp_path):
    return tmp_path / 'source'


def test_shapes(source):
    found = shapes(
        source, *[region(x, pet='cat') for x in (POLYGON, CIRCLE, ELLIPSE, RECT)]
    )
    polygon, circle, ellipse, rect = found
    assert polygon.segmentation == [[5, 10, 15, 10, 15, 16, 5, 16]]
    assert (polygon.mask == box_mask(5, 10, 10, 6)).all()
    assert_ellipse(circle.mask, 20, 15, 8.5, 8.5)
    assert_ellipse(ellipse.mask, 20, 15, 14, 5, 0.5)
    assert (rect.mask == box_mask(5, 10, 10, 6)).all()
    assert rect.box == [5, 10, 10, 6]


def test_an_ellipse_of_an_older_version_is_not_rotated(source):
    old = {key: value for key, value in ELLIPSE.items() if key != 'theta'}
    (ellipse,) = shapes(source, region(old, pet='cat'))
    assert_ellipse(ellipse.mask, 20, 15, 14, 5)


def test_only_rectangles_have_no_masks(source):
    (rect,) = shapes(source, region(RECT, pet='cat'))
    assert (rect.box, rect.segmentation) == ([5, 10, 10, 6], None)


def test_the_json_export_has_only_the_entries(source):
    write_json(
        source / 'via_export_json.json',
        metadata(source, a=[region(RECT, pet='cat')], b=[]),
    )
    result = converted(source, val=0.5)
    assert [x.name for x in result.objects['a.png']] == ['cat']
    assert result.objects['b.png'] == []


def test_version_1_numbers_its_regions(source):
    """As in the balloon dataset of Mask R-CNN: splits, and no attribute."""
    for split in ('train', 'val'):
        entries = metadata(source / split, **{split: [region(POLYGON)]})
        for entry in entries.values():
            entry['regions'] = {'0': entry['regions'][0]}
        write_json(source / split / 'via_region_data.json', entries)
    result = converted(source)
    assert result.images == dict(train=['train.png'], val=['val.png'])
    assert result.classes['train'] == result.classes['val'] == ['object']


def test_the_csv_export(source):
    entries = metadata(source, a=[region(RECT, pet='cat'), region(RECT, pet='dog')])
    write_image(source / 'b.png')
    with (source / 'via_export_csv.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                'filename',
                'file_size',
                'file_attributes',
                'region_count',
                'region_id',
                'region_shape_attributes',
                'region_attributes',
            ]
        )
        for entry in entries.values():
            for i, item in enumerate(entry['regions']):
                parts = [json.dumps(x) for x in item.values()]
                writer.writerow([entry['filename'], 9, '{}', 2, i, *parts])
        writer.writerow(['b.png', 9, '{}', 0, 0, '{}', '{}'])
    result = converted(source, val=0.5)
    assert [(x.name, x.box) for x in result.objects['a.png']] == [
        ('cat', [5, 10, 10, 6]),
        ('dog', [5, 10, 10, 6]),
    ]
    assert result.objects['b.png'] == []


def test_an_option_has_a_name(source):
    """Radio buttons and dropdowns store the id of an option."""
    options = dict(type='dropdown', options={'1': 'cat', 'dog': ''})
    write_project(
        source,
        attributes=dict(pet=options),
        a=[region(RECT, pet='1'), region(RECT, pet='dog')],
        b=[],
    )
    result = converted(source, val=0.5)
    assert [x.name for x in result.objects['a.png']] == ['cat', 'dog']


def test_checkboxes(source):
    (rect,) = shapes(source, region(RECT, pet=dict(cat=True)))
    assert rect.name == 'cat'


def test_several_attributes_need_a_choice(source):
    regions = [region(RECT, pet='cat', quality='good')]
    with pytest.raises(ValueError, match='attributes pet, quality.*--attribute NAME'):
        shapes(source, *regions)
    (rect,) = shapes(source, *regions, attribute='quality')
    assert rect.name == 'good'


def test_an_unknown_attribute_is_an_error(source):
    with pytest.raises(ValueError, match='--attribute colour: regions have only pet'):
        shapes(source, region(RECT, pet='cat'), attribute='colour')


def test_points_are_counted(source):
    write_project(source, a=[region(POINT, pet='cat'), region(RECT, pet='cat')], b=[])
    result = converted(source, val=0.5)
    assert len(result.objects['a.png']) == 1
    assert 'left out: regions of shape point (1)' in result.summary
    assert 'a.png: region 0' in result.summary


@pytest.mark.parametrize(
    'bad, message',
    [
        (region(RECT), "its 'pet' is empty; set it in VIA"),
        (region(dict(RECT, width=None), pet='cat'), 'region 1'),
        (region(dict(name='rect', x=1), pet='cat'), "has no 'y'"),
        (region(dict(POLYGON, all_points_x=[1, 2, 3]), pet='cat'), 'numbers of x'),
    ],
)  # fmt: skip
def test_a_wrong_region_is_named(source, bad, message):
    with pytest.raises(ValueError, match=message) as error:
        shapes(source, region(RECT, pet='cat'), bad)
    assert f'{source / "pets.json"}: a.png: region 1' in str(error.value)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [('{', 'Expecting property name'), ('[' * 10**5, 'maximum recursion depth')],
    ids=['broken', 'deep'],
)
def test_a_broken_csv_file_is_named(source, shape, message):
    write_image(source / 'a.png')
    (source / 'via.csv').write_text(
        f'filename,region_shape_attributes,region_attributes\na.png,{shape},{{}}\n'
    )
    with pytest.raises(ValueError, match=f'via.csv: {message}'):
        converted(source, val=0.5)


def test_a_file_that_is_listed_twice_is_an_error(source):
    entries = metadata(source, a=[])
    (entry,) = entries.values()
    write_json(source / 'pets.json', dict(entries, again=entry))
    with pytest.raises(ValueError, match=r'a.png is in .* and in'):
        converted(source, val=0.5)
