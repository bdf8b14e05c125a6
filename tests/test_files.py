"""Files below a folder; reading; files are complete or not there."""

from pathlib import Path

import pytest

from lightvit_mm.files import (
    files_below,
    read_json,
    remove_all_drafts,
    remove_drafts,
    written_whole,
)


def test_files_below_a_folder_come_from_the_top_without_hidden_ones(tmp_path):
    outside = tmp_path / 'outside'
    root = tmp_path / 'root'
    for path in (
        root / 'b.jpg',
        root / 'A.txt',
        root / '._b.jpg',
        root / 'a/c.jpg',
        root / 'a/.ipynb_checkpoints/c.jpg',
        root / '__MACOSX/b.jpg',
        root / 'results/b.jpg',
        outside / 'd.jpg',
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / 'link').symlink_to(outside)

    found = [str(x.relative_to(root)) for x in files_below(root, root / 'results')]
    assert found == ['A.txt', 'b.jpg', 'a/c.jpg', 'link/d.jpg']


def test_deep_json_is_an_error(tmp_path):
    path = tmp_path / 'deep.json'
    path.write_text('[' * 10**6)
    with pytest.raises(ValueError, match=r'deep\.json is not JSON'):
        read_json(path)


def test_files_written_together_are_replaced_together(tmp_path):
    path = tmp_path / 'a.xml'
    for text in ('first', 'second'):
        with written_whole(path, '.bin') as draft:
            draft.write_text(text)
            draft.with_suffix('.bin').write_text(text)
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
            'a.xml': text,
            'a.bin': text,
        }


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / 'gone/a.txt'

    class Removed(type(path)):
        """A folder that is removed by others at once."""

        def mkdir(self, **kwargs):
            pass

    with (
        pytest.raises(FileNotFoundError, match=f"'{path}'"),
        written_whole(Removed(path)),
    ):
        pass


def test_only_folders_are_removed_as_drafts(tmp_path):
    path, outside = tmp_path / 'run/a.pth', tmp_path / 'outside'
    outside.mkdir()
    (outside / 'kept').touch()
    with written_whole(path) as draft:
        draft.touch()
        prefix = str(draft.parent)
    for remove in (lambda: remove_drafts(path), lambda: remove_all_drafts(path.parent)):
        Path(f'{prefix}link').symlink_to(outside)
        Path(f'{prefix}file').touch()
        Path(f'{prefix}draft').mkdir()
        remove()
        left = [Path(f'{prefix}file'), Path(f'{prefix}link')]
        assert sorted(path.parent.iterdir()) == [*left, path]
        assert (outside / 'kept').exists()
        for entry in left:
            entry.unlink()
