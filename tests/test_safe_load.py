"""The safe reader: what it refuses, on request accepts, downloads and keeps."""

import io
import os
import tarfile

import pytest
import torch

from lightvit_mm import safe_load
from lightvit_mm.safe_load import CheckpointError, RefusedError, fetch, load_url, read

from .hostile import Bomb, serve


@pytest.fixture(autouse=True)
def protection(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server of the folder tmp_path/web."""
    (tmp_path / 'web').mkdir()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    with serve(tmp_path / 'web') as server:
        yield server


def kept(tmp_path):
    """The names of the downloads in torch.hub's folder."""
    paths = (tmp_path / 'hub/checkpoints').glob('*')
    return [path.name for path in paths if path.suffix != '.lock']


def test_code_is_read_only_on_request(tmp_path, monkeypatch):
    marker, path = tmp_path / 'marker', tmp_path / 'file.pth'
    torch.save(dict(value=Bomb(marker)), path)
    for value in ('0', '', 'true'):
        monkeypatch.setenv('LIGHTVIT_MM_UNSAFE_LOAD', value)
        with pytest.raises(RefusedError) as error:
            read(path)
        assert 'LIGHTVIT_MM_UNSAFE_LOAD=1' in str(error.value)
        assert 'posix.mkdir' in str(error.value) and '\n' not in str(error.value)
    assert not marker.exists()

    monkeypatch.setenv('LIGHTVIT_MM_UNSAFE_LOAD', '1')
    assert read(path) == dict(value=None)  # what mkdir returns
    assert marker.exists()


class Scripted(torch.nn.Module):
    def forward(self, x):
        return x


def save_tar(path):
    """PyTorch before 0.2 wrote such archives; their name can look like a pickle."""
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo('storages')
        archive.addfile(entry, io.BytesIO())
    data = path.read_bytes()
    start = b'\x80' + data[1:]
    total = sum(start[:148]) + 8 * 32 + sum(start[156:512])
    path.write_bytes(start[:148] + b'%06o\0 ' % total + start[156:])
    assert tarfile.is_tarfile(path)


@pytest.mark.parametrize(
    'save',
    [lambda path: torch.jit.script(Scripted()).save(str(path)), save_tar],
    ids=['TorchScript', 'tar'],
)
def test_archives_with_code_are_not_opened(tmp_path, monkeypatch, save):
    path = tmp_path / 'file.pth'
    save(path)
    monkeypatch.setattr(torch.jit, 'load', lambda *args, **kw: pytest.fail('executed'))
    # Later versions do not open them at all.
    message = 'was refused' if torch.__version__ < '2.6' else 'cannot be read'
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    with pytest.raises(OSError, match=r'pipe\.pth is a pipe'):
        read(tmp_path / 'pipe.pth')


def test_a_download_is_made_once(tmp_path, web):
    torch.save(dict(value=1), tmp_path / 'web/file.pth')
    for _ in range(2):
        assert load_url(f'{web.url}/file.pth?token=x', progress=False)['value'] == 1
    assert len(web.requests) == 1 and kept(tmp_path) == ['file.pth']


def test_a_damaged_download_is_replaced(tmp_path, web):
    torch.save(dict(value=torch.arange(1000)), tmp_path / 'web/file.pth')
    path = tmp_path / 'hub/checkpoints/file.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes((tmp_path / 'web/file.pth').read_bytes()[:-500])
    content = load_url(f'{web.url}/file.pth')
    assert torch.equal(content['value'], torch.arange(1000))
    assert torch.equal(read(path)['value'], torch.arange(1000))


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('file.pth', b'<html>Log in</html>', 'not a PyTorch checkpoint.*<html>Log'),
        ('missing.pth', b'', 'could not be downloaded.*404'),
        ('', b'', 'should end in the name of a checkpoint'),
        ('..', b'', 'should end in the name of a checkpoint'),
    ],
)
def test_what_is_no_checkpoint_is_not_kept(tmp_path, web, name, content, message):
    (tmp_path / 'web/file.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        load_url(f'{web.url}/{name}')
    assert '\n' not in str(error.value) and kept(tmp_path) == []


def test_downloaded_code_is_neither_executed_nor_kept(tmp_path, web):
    marker = tmp_path / 'marker'
    torch.save(dict(value=Bomb(marker)), tmp_path / 'web/file.pth')
    url = f'{web.url}/file.pth'
    with pytest.raises(RefusedError, match=f'{url} was refused.*mkdir'):
        load_url(url)
    assert not marker.exists() and kept(tmp_path) == []


def test_a_download_can_be_put_in_place_by_hand(tmp_path, monkeypatch):
    """Also into a folder that cannot be written to."""
    folder = tmp_path / 'cache'
    folder.mkdir()
    torch.save(dict(value=1), folder / 'file.pth')
    monkeypatch.setattr(safe_load, 'FileLock', lambda path: pytest.fail('written to'))
    assert fetch('http://127.0.0.1:9/file.pth', folder / 'file.pth') == dict(value=1)
