"""Published models that were changed, and those that could carry code."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from lightvit_mm import model_folder
from lightvit_mm.config import config_name, read_config
from lightvit_mm.model_folder import ModelFolder, is_published
from lightvit_mm.safe_load import CheckpointError, RefusedError

from .hostile import Bomb

safetensors = pytest.importorskip('safetensors.torch')

WEIGHTS = dict(weight=torch.ones(2))


@pytest.fixture
def folder(tmp_path):
    """A published folder, written by hand."""
    folder = tmp_path / 'fruits'
    folder.mkdir()
    safetensors.save_file(WEIGHTS, folder / 'model.safetensors')
    torch.save(dict(state_dict=WEIGHTS), folder / 'fruits-01234567.pth')
    (folder / 'config.py').write_text("model = dict(type='ImageClassifier')\n")
    (folder / 'classes.json').write_text('{"classes": ["a"], "palette": [[1, 2, 3]]}')
    write_sums(folder)
    return folder


def write_sums(folder):
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != 'SHA256SUMS'
    }
    lines = [f'{digest}  {name}\n' for name, digest in sums.items()]
    (folder / 'SHA256SUMS').write_text(''.join(lines))


def load(folder):
    return CheckpointLoader.load_checkpoint(str(folder))


def test_folder_is_read(folder):
    content = load(folder)
    assert torch.equal(content['state_dict']['weight'], WEIGHTS['weight'])
    known = dict(classes=('a',), palette=[(1, 2, 3)])
    assert content['meta']['dataset_meta'] == known
    cfg = read_config(str(folder))
    assert cfg.model.type == 'ImageClassifier'
    assert cfg.filename == str(folder / 'config.py')


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv('HOME', str(folder.parent))
    assert load('~/fruits').keys() == {'meta', 'state_dict'}
    assert read_config('~/fruits').model
    assert config_name('~/fruits') == 'fruits'


@pytest.mark.parametrize('name', ['.', './', '../fruits', '../fruits/'])
def test_name_is_that_of_the_folder(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    assert config_name(name) == 'fruits'


@pytest.mark.parametrize(
    'name, read',
    [('model.safetensors', load), ('classes.json', load), ('config.py', read_config)],
)
def test_changed_and_missing_files_are_refused(folder, name, read):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f'{name} has the sha256 .* was changed'):
        read(str(folder))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read(str(folder))
    write_sums(folder)
    # Without a config in its list, it may be any folder.
    expected = CheckpointError if read is load else IsADirectoryError
    with pytest.raises(expected, match=f'SHA256SUMS does not list {name}|is a folder'):
        read(str(folder))


def test_weights_are_never_replaced_by_the_other_file(folder):
    (folder / 'model.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='model.safetensors'):
        load(folder)


@pytest.mark.parametrize(
    'line', ['', 'abc  model.safetensors', '{}  ../evil', '{}  a/b', '{}', '{} x']
)
def test_other_sums_are_refused(folder, line):
    with open(folder / 'SHA256SUMS', 'a') as file:
        file.write(line.format('0' * 64) + '\n')
    with pytest.raises(CheckpointError, match='expected a sha256, two spaces'):
        load(folder)


def test_other_folders_are_explained(tmp_path):
    with pytest.raises(CheckpointError, match='not a published model: .*SHA256SUMS'):
        load(str(tmp_path))
    with pytest.raises(IsADirectoryError, match=r'that tools/publish\.py wrote'):
        read_config(str(tmp_path))
    assert not is_published(str(tmp_path))


def test_a_dataset_with_sums_is_no_published_model(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    write_sums(tmp_path)
    assert not is_published(str(tmp_path))


@pytest.mark.parametrize(
    'content, found',
    [
        ('[]', r'content=\[\] should be a dict'),
        ('{}', 'classes=None should be a list'),
        ('{"classes": ["a"]}', 'palette=None should be a list'),
        ('{"classes": ["a"], "palette": [["red"]]}', 'palette=.* should be a list'),
    ],
)
def test_other_classes_are_explained(folder, content, found):
    (folder / 'classes.json').write_text(content)
    write_sums(folder)
    with pytest.raises(ValueError, match=f'classes.json: {found}'):
        load(folder)


@pytest.mark.parametrize('content', [{}, [], dict(state_dict=1)], ids=str)
def test_a_file_without_weights_is_explained(folder, content, monkeypatch):
    torch.save(content, folder / 'fruits-01234567.pth')
    write_sums(folder)
    monkeypatch.setattr(model_folder, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r'fruits-01234567.pth: .* should be a dict'):
        load(folder)


def test_damaged_weights_are_refused(folder):
    (folder / 'model.safetensors').write_bytes(b'\xff' * 100)
    write_sums(folder)
    with pytest.raises(CheckpointError, match='model.safetensors cannot be read'):
        load(folder)


def test_pipes_are_refused(folder):
    (folder / 'config.py').unlink()
    os.mkfifo(folder / 'config.py')
    with pytest.raises(OSError, match='a pipe or a device'):
        read_config(str(folder))


def test_code_in_the_other_file_is_not_executed(folder, tmp_path, monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    torch.save(Bomb(tmp_path / 'marker'), folder / 'fruits-01234567.pth')
    write_sums(folder)
    monkeypatch.setattr(model_folder, 'find_spec', lambda name: None)
    with pytest.raises(RefusedError, match='may carry code'):
        load(folder)
    assert not (tmp_path / 'marker').exists()


def test_code_in_the_config_is_not_executed(folder, tmp_path):
    (folder / 'config.py').write_text(f'import os\nos.mkdir({str(tmp_path / "x")!r})\n')
    write_sums(folder)
    with pytest.raises(RefusedError, match='line 1 is not an assignment') as error:
        read_config(str(folder))
    assert f'give {folder / "config.py"} itself as the config' in str(error.value)
    assert not (tmp_path / 'x').exists()


def test_module_beside_the_config_is_not_imported(folder):
    """Python finds it where it starts, and mmengine imports what a type names."""
    (folder / 'evil.py').write_text("open('executed', 'w')\n")
    (folder / 'config.py').write_text("model = dict(type='evil')\n")
    write_sums(folder)
    code = "from lightvit_mm.config import read_config; read_config('.')"
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert "type='evil' is not from lightvit_mm" in done.stderr
    assert not (folder / 'executed').exists()


def test_config_file_of_a_folder_is_an_ordinary_config(folder):
    with open(folder / 'config.py', 'a') as file:
        file.write('number = 1 + 1\n')
    assert read_config(str(folder / 'config.py')).number == 2


def test_folder_does_not_shadow_names_of_models(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    from mmpretrain import get_model

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lightvit-tiny_8xb128_in1k').mkdir()
    assert get_model('lightvit-tiny_8xb128_in1k').head.num_classes == 1000


def test_files_are_read_once(folder, monkeypatch):
    """What was checked is what is used, even if the file changes in between."""
    read = Path.read_bytes

    def read_and_replace(path):
        data = read(path)
        shutil.copyfile(os.devnull, path)
        return data

    monkeypatch.setattr(Path, 'read_bytes', read_and_replace)
    content = ModelFolder(str(folder)).checkpoint()
    assert torch.equal(content['state_dict']['weight'], WEIGHTS['weight'])
