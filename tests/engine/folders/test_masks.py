"""classes.txt, and pairs of images and masks."""

import pytest

from lightvit_mm.engine.folders.masks import pair_masks, read_mask_classes

NAMES = ['straße', '道路', 'void']


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'classes.txt'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n', ''])
def test_names_are_read_as_editors_write_them(encoding, end, path):
    path.write_bytes(((end or '\n').join(NAMES) + end).encode(encoding))
    assert read_mask_classes(path) == (NAMES, None)


@pytest.mark.parametrize(
    'encoding, names',
    [('latin-1', 'straße\nwald'), ('utf-16-le', 'road\ncar'), ('gbk', '道路\n汽车')],
)
def test_other_encodings_are_named_and_not_guessed(encoding, names, path):
    path.write_bytes(names.encode(encoding))
    with pytest.raises(ValueError, match='classes.txt is neither .*save it as UTF-8'):
        read_mask_classes(path)


@pytest.mark.parametrize(
    'text, names, values',
    [
        ('0: sky\n255:road', ['sky', 'road'], [0, 255]),
        ('65535: sky\n1 : road ', ['sky', 'road'], [65535, 1]),
        ('#FF8000: sky\n#000000: road', ['sky', 'road'], ['#ff8000', '#000000']),
        ('255,128,0: sky\n#00000a: road', ['sky', 'road'], ['#ff8000', '#00000a']),
        (
            '1: void\n2: void\n3: a: b\n4: c',
            ['void', 'void', 'a: b', 'c'],
            [1, 2, 3, 4],
        ),
        ('vehicle: car\nvehicle: bus', ['vehicle: car', 'vehicle: bus'], None),
        ('background\n2 euro', ['background', '2 euro'], None),
        ('0: 1 euro\n1: 2 euro', ['1 euro', '2 euro'], [0, 1]),
        ('type 1\ntype 2', ['type 1', 'type 2'], None),
        ('3d\n4x4', ['3d', '4x4'], None),
        ('0-10 m\n10-20 m', ['0-10 m', '10-20 m'], None),
    ],
)
def test_lines_may_name_values_or_colours(text, names, values, path):
    path.write_text(text)
    assert read_mask_classes(path) == (names, values)


@pytest.mark.parametrize(
    'text, message',
    [
        ('sky\n255: road', "Line 1 of .* is 'sky', but all lines should be NAME"),
        ('0: sky\nroad', "Line 2 of .* is 'road', but all"),
        ('0: sky\n#00ff00: road', "Line 2 of .* is '#00ff00: road', but all"),
        ('0: sky\n0: road', 'these values more than once: 0'),
        ('#ff0000: sky\n255,0,0: road', 'these values more than once: #ff0000'),
        ('0: sky\n65536: road', "value 65536 in '65536: road', expected 0 to 65535"),
        ('0,0,256: sky\n1,1,1: road', "value 256 in '0,0,256: sky', expected 0 to 255"),
        ('0: sky\n1:', 'Line 2 of .* has no name'),
        ('0: sky\n1: sky', 'these names more than once: sky'),
        ('0: void\n255: road', 'two classes or more .* names road'),
        ('', 'two classes or more .* names none'),
        # Each of these lines would name the next value, or with its number.
        (
            '# my classes\nsky\nroad',
            "Line 1 of .* is '# my classes': .*Remove comments",
        ),
        ('sky\nroad\n#f80: car', "Line 3 of .* is '#f80: car': after # .*six digits"),
        ('0 sky\n1 road', "Line 1 of .* is '0 sky' and .*write VALUE: NAME"),
        ('255\tsky\n0\troad', 'write VALUE: NAME'),
        ('(255,0,0): sky\n(0,0,0): road', 'write VALUE: NAME'),
        ('255 128 0\tsky\n0 0 0\tvoid\n1 1 1\tcar', 'write VALUE: NAME'),
        ('0.0: sky\n1.0: road', 'write VALUE: NAME'),
        ('sky: 0\nroad: 1', 'write VALUE: NAME'),
        ('sky,0\nroad,1', 'write VALUE: NAME'),
    ],
)
def test_misuse_is_explained(text, message, path):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_mask_classes(path)


def test_pairs_have_one_name_and_any_suffixes(tmp_path):
    expected = []
    for image, mask in (
        ('a.JPG', 'a.png'),
        ('b.tif', 'b.TIF'),
        ('c.png', 'c.bmp'),
        ('day.1/d.x.webp', 'day.1/d.x.tiff'),
    ):
        pair = (tmp_path / 'img' / image, tmp_path / 'ann' / mask)
        for path in pair:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        expected.append(pair)
    for other in ('img/._a.jpg', 'img/readme.txt', 'img/.thumbs/a.png', 'ann/z.png'):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).touch()
    assert pair_masks(tmp_path / 'img', tmp_path / 'ann') == expected


def test_masks_may_have_an_ending_of_their_own(tmp_path):
    for name in ('img/a.jpg', 'ann/a_mask.png', 'ann/a.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs = pair_masks(tmp_path / 'img', tmp_path / 'ann', ('.jpg',), ('_mask.png',))
    assert pairs == [(tmp_path / 'img/a.jpg', tmp_path / 'ann/a_mask.png')]


def test_unsplit_images_get_the_command_that_splits_them(tmp_path):
    command = f'python tools/convert_dataset.py {tmp_path} OUT --val 0.2'
    with pytest.raises(FileNotFoundError, match=command):
        pair_masks(tmp_path / 'img_dir/train', tmp_path / 'ann_dir/train')


def test_a_mask_with_a_longer_name_is_named(tmp_path):
    for name in ('img/a.jpg', 'ann/a_mask.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    message = 'ann/a.png. There is a_mask.png: rename it to a.png'
    with pytest.raises(FileNotFoundError, match=message):
        pair_masks(tmp_path / 'img', tmp_path / 'ann')
