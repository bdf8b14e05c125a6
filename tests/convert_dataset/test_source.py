"""Which image an annotation file means."""

import pytest

from lightvit_mm.convert_dataset.source import Source

from .files import write_image


def find(tmp_path, files, name, entry='a.json', split=None):
    for file in files:
        write_image(tmp_path / file)
    found = Source(tmp_path).find_image(name, tmp_path / entry, split)
    return found.relative_to(tmp_path).as_posix()


@pytest.mark.parametrize(
    'name',
    ['b/1.png', 'b\\1.png', '/home/me/b/1.png', 'C:\\me\\b\\1.png', '../b/1.png'],
)
def test_folders_of_the_name_decide(tmp_path, name):
    assert find(tmp_path, ['a/1.png', 'b/1.png'], name) == 'b/1.png'


def test_the_split_decides(tmp_path):
    files = ['images/train/1.png', 'images/valid/1.png']
    assert find(tmp_path, files, '1.png', split='val') == files[1]


def test_the_nearest_image_counts(tmp_path):
    files = ['a/1.png', 'b/1.png']
    assert find(tmp_path, files, '1.png', entry='b/labels.json') == 'b/1.png'


def test_a_name_without_suffix(tmp_path):
    assert find(tmp_path, ['a/1.png', 'a/10.png'], '1') == 'a/1.png'


def test_hidden_copies_do_not_count(tmp_path):
    files = ['a/1.png', '__MACOSX/a/1.png', '.cache/1.png', 'a/._1.png']
    assert find(tmp_path, files, '1.png') == 'a/1.png'


def test_several_images_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"'1.png' could be .*a.1.png or .*b.1.png"):
        find(tmp_path, ['a/1.png', 'b/1.png'], '1.png')


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.json: there is no image '2.png'"):
        find(tmp_path, ['1.png'], '2.png')
