"""Files and folders that strangers made end in an error, without a wait."""

import os
import signal
from pathlib import Path

import pytest
from mmengine.fileio import get, get_local_path, get_text

from lightvit_mm import untrusted
from lightvit_mm.files import files_below, read_json, read_text
from lightvit_mm.messages import lines, printable
from lightvit_mm.untrusted import check_is_file, parse_json, walk


@pytest.fixture(autouse=True)
def no_wait():
    """Fail instead of waiting."""

    def fail(*args):
        raise TimeoutError('it waited for more than 20 seconds')

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)


def local_path(path):
    with get_local_path(path) as local:
        return local


@pytest.mark.parametrize(
    'read', [check_is_file, get, get_text, local_path, read_json, read_text]
)
def test_pipes_and_devices_are_not_read(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', Path('/dev/zero')):
        with pytest.raises(OSError, match=f'{path} is a pipe or a device'):
            read(path)


def test_files_are_read_as_before(tmp_path):
    (tmp_path / 'file').write_text('text')
    (tmp_path / 'link').symlink_to('file')
    for path in (tmp_path / 'file', tmp_path / 'link'):
        assert (get(path), get_text(path)) == (b'text', 'text')
        assert local_path(str(path)) == str(path)
    with pytest.raises(FileNotFoundError):
        get(tmp_path / 'missing')
    with pytest.raises(IsADirectoryError):
        get(tmp_path)


def coco(path):
    from pycocotools.coco import COCO

    return COCO(local_path(path))


@pytest.mark.parametrize('read', [get, get_text, coco, read_json])
def test_json_larger_than_the_memory_is_not_read(tmp_path, read):
    """The file is sparse: it takes no room."""
    path = tmp_path / 'x.json'
    path.touch()
    os.truncate(path, 2**43)
    with pytest.raises(OSError, match=r'x\.json is too large: .* 20480\.0 GiB of mem'):
        read(str(path))


def test_json_that_may_fit_is_read(tmp_path, monkeypatch):
    path = tmp_path / 'x.json'
    path.write_text('[1, 2]')
    monkeypatch.setattr(untrusted, '_memory', lambda: 15)
    assert read_json(path) == [1, 2]
    monkeypatch.setattr(untrusted, '_memory', lambda: 14)
    with pytest.raises(OSError, match='too large'):
        read_json(path)


@pytest.mark.parametrize(
    'text', ['{', '[' * 10**6, '{"a":' * 10**6, b'\xff', '9' * 5000]
)
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r'^a\.json is not JSON'):
        parse_json(text, 'a.json')


def test_a_walk_is_that_of_os(tmp_path):
    for name in ('a/b', 'c', 'elsewhere/d'):
        (tmp_path / 'root' / name).mkdir(parents=True)
        (tmp_path / 'root' / name / 'file').touch()
    (tmp_path / 'root/link').symlink_to('elsewhere')
    found = [(x, sorted(y), sorted(z)) for x, y, z in walk(tmp_path / 'root')]
    expected = [
        (x, sorted(y), sorted(z))
        for x, y, z in os.walk(tmp_path / 'root', followlinks=True)
    ]
    assert sorted(found) == sorted(expected) and len(found) == 8


def test_a_walk_skips_folders_and_pipes(tmp_path):
    (tmp_path / 'skipped').mkdir()
    (tmp_path / 'file').touch()
    os.mkfifo(tmp_path / 'pipe')
    found = []
    for folder, folders, names in walk(tmp_path):
        folders.remove('skipped')
        found.append((folder, names))
    assert found == [(str(tmp_path), ['file'])]


@pytest.mark.parametrize('search', [walk, files_below])
def test_a_walk_in_circles_ends(tmp_path, search):
    """os.walk would visit more than 10 ** 12 folders."""
    for name in 'ab':
        (tmp_path / name).symlink_to('.', target_is_directory=True)
    with pytest.raises(OSError, match='symbolic links that lead'):
        list(search(tmp_path))


def test_control_characters_are_escaped():
    hostile = 'a\x1b[2Jb\r\x07\x9b\u202ec'
    assert printable(hostile) == 'a\\x1b[2Jb\\r\\x07\\x9b\\u202ec'
    text = 'Größe 火车\nsecond\tline'
    assert printable(text) == text
    assert lines(['a\nb', '\x1bc']) == 'a\\nb\n\\x1bc'
