"""The safe reader: what it refuses, on request accepts, downloads and keeps."""

import io
import os
import socket
import tarfile
import threading

import pytest
import torch

from lightvit_mm import safe_load
from lightvit_mm.safe_load import CheckpointError, RefusedError, fetch, load_url, read

from .hostile import Bomb, Handler, serve


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
    paths = (tmp_path / 'hub/checkpoints').rglob('*')
    return [p.name for p in paths if p.suffix != '.lock' and p.is_file()]


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


def test_the_reason_of_pytorch_is_shown(tmp_path):
    torch.save([1], tmp_path / 'file.pth', pickle_protocol=4)
    with pytest.raises(
        CheckpointError, match=r'UnpicklingError: Unsupported op\w+ 149\)'
    ):
        read(tmp_path / 'file.pth')


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    with pytest.raises(OSError, match=r'pipe\.pth is a pipe'):
        read(tmp_path / 'pipe.pth')


def test_a_download_is_made_once(tmp_path, web):
    torch.save(dict(value=1), tmp_path / 'web/file.pth')
    for _ in range(2):
        assert load_url(f'{web.url}/file.pth?token=x', progress=False)['value'] == 1
    assert len(web.requests) == 1 and kept(tmp_path) == ['file.pth']


def test_files_of_one_name_at_two_addresses_are_two_files(tmp_path, web):
    urls = [f'{web.url}/{name}' for name in ('a/x.pth', 'b/x.pth', 'b/x.pth?v=2')]
    for value, folder in enumerate('ab'):
        (tmp_path / 'web' / folder).mkdir()
        torch.save(value, tmp_path / f'web/{folder}/x.pth')
    assert [load_url(url) for url in urls] == [0, 1, 1]
    assert [load_url(url) for url in urls] == [0, 1, 1]
    assert len(web.requests) == 3


@pytest.mark.parametrize('host', ['download.openmmlab.com', 'download.pytorch.org'])
def test_downloads_of_torch_hub_are_used(tmp_path, web, host):
    """Only for addresses whose file names are unique."""
    folder = tmp_path / 'hub/checkpoints'
    folder.mkdir(parents=True)
    torch.save('earlier', folder / 'x.pth')
    torch.save('now', tmp_path / 'web/x.pth')
    assert load_url(f'https://{host}/models/x.pth') == 'earlier'
    assert load_url(f'{web.url}/x.pth') == 'now'


@pytest.mark.parametrize(
    'start', [b'', b'HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nPK']
)
def test_a_server_that_sends_nothing_is_left(tmp_path, web, monkeypatch, start):
    monkeypatch.setattr(safe_load, 'TIMEOUT', 0.5)
    with socket.create_server(('127.0.0.1', 0)) as silent:

        def answer():
            connection = silent.accept()[0]
            connection.sendall(start)
            connections.append(connection)

        connections = []
        threading.Thread(target=answer, daemon=True).start()
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/x.pth'
        with pytest.raises(
            CheckpointError, match=rf'{url} could.*\(.*nothing for 0\.5 seconds\)'
        ):
            load_url(url)
        connections[0].close()
    assert kept(tmp_path) == [] and socket.getdefaulttimeout() is None


def test_a_broken_connection_leaves_nothing(tmp_path, web, monkeypatch):
    torch.save(torch.arange(1000), tmp_path / 'web/x.pth')
    whole = Handler.copyfile

    def half(handler, source, target):
        whole(handler, io.BytesIO(source.read()[:2000]), target)

    monkeypatch.setattr(Handler, 'copyfile', half)
    with pytest.raises(CheckpointError, match='could not be downloaded.*truncated'):
        load_url(f'{web.url}/x.pth')
    assert kept(tmp_path) == []


def test_a_damaged_download_is_replaced(tmp_path, web):
    torch.save(dict(value=torch.arange(1000)), tmp_path / 'web/file.pth')
    load_url(f'{web.url}/file.pth')
    (path,) = (tmp_path / 'hub/checkpoints').rglob('file.pth')
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


def test_what_is_no_address_is_an_error():
    with pytest.raises(CheckpointError, match=r'http://\[::1/x\.pth is not an address'):
        load_url('http://[::1/x.pth')


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
