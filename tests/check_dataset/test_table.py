"""The tables of a report."""

import numpy as np

from lightvit_mm.check_dataset import table
from lightvit_mm.check_dataset.sources import Content, Objects


def content(num_classes, image, label, area, sizes=()):
    """A dataset of ten images with some objects."""
    return Content(
        [],
        num_images=10,
        num_kept=10,
        num_annotations=len(label),
        classes=tuple(f'class {i}' for i in range(num_classes)),
        num_classes=num_classes,
        objects=Objects(*map(np.array, (image, label, area))),
        sizes=list(sizes),
    )


def test_images_and_instances_are_counted():
    data = content(3, [0, 0, 0, 1, 9], [1, 1, 2, 1, 1], [4.0, 4, 9, 16, 25])
    text, sizes = table.tables({'train': [data, data]})
    assert text.splitlines() == [
        'class    train: images  instances',
        'class 0              0          0',
        'class 1              6          8',
        'class 2              2          2',
    ]
    assert sizes.splitlines()[-1].split() == ['median', 'of', '√area', '3']


def test_areas_have_the_limits_of_coco():
    areas = [1.0, 32**2 - 1, 32**2, 96**2 - 1, 96**2]
    _, sizes = table.tables({'val': [content(1, range(5), [0] * 5, areas)]})
    rows = sizes.splitlines()[1:4]
    assert [row.split()[-2] for row in rows] == ['40.0', '40.0', '20.0']


def test_many_classes_show_the_most_frequent_and_the_rarest():
    rng = np.random.default_rng(0)
    frequency = rng.permutation(80)
    label = np.repeat(np.arange(80), frequency)
    image = rng.integers(10, size=len(label))
    data = content(80, image, label, np.full(len(label), np.nan))
    # Labels of images: each image once.
    num_images = [len(set(image[label == i])) for i in range(80)]
    text, *_ = table.tables({'train': [data]})
    rows = [line.rsplit(maxsplit=1) for line in text.splitlines()[1:]]
    assert len(rows) == 21 and text.splitlines()[11] == '... and 60 more'
    shown = [int(row[1]) for i, row in enumerate(rows) if i != 10]
    expected = sorted(num_images, reverse=True)
    assert shown == expected[:10] + expected[-10:]
    for name, number in (row for i, row in enumerate(rows) if i != 10):
        assert num_images[int(name.split()[1])] == int(number)


def test_twenty_classes_are_all_shown_in_their_order():
    data = content(20, [0] * 3, [5, 5, 6], [1.0, 1, 1])
    text, *_ = table.tables({'train': [data]})
    assert [x[:8].strip() for x in text.splitlines()[1:]] == list(data.classes)


def test_splits_with_other_classes_share_a_table():
    train = content(2, [0], [1], [1.0])
    val = content(3, [0, 1], [2, 2], [1.0, 1])
    text, *_ = table.tables({'train': [train], 'val': [val]})
    assert [line.split()[1:] for line in text.splitlines()[1:]] == [
        ['0', '0', '0', '0', '0'],
        ['1', '1', '1', '0', '0'],
        ['2', '0', '0', '2', '2'],
    ]


def test_sizes_of_images_are_sorted_by_their_area():
    sizes = [(100, 20), (30, 30), (50, 60), (10, 400), (70, 70)]
    data = content(1, [0], [0], [1.0], sizes)
    _, text = table.tables({'train': [data]})
    assert [line.split()[-3:] for line in text.splitlines()[-3:]] == [
        ['30', 'x', '30'],
        ['50', 'x', '60'],
        ['70', 'x', '70'],
    ]


def test_a_dataset_without_known_classes_has_no_table():
    data = content(1, [0], [0], [1.0], [(4, 3)])
    data.objects = None
    [text] = table.tables({'train': [data]})
    assert 'instances' not in text and 'smallest image  4 x 3' in text
