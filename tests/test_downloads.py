"""Downloads: made once, from the first source that works, and checked."""

import hashlib
import io
import json
import socket
import threading

import pytest
import torch

from lightvit_mm import downloads
from lightvit_mm.downloads import Sums, fetch, load_url, sums_of
from lightvit_mm.safe_load import CheckpointError, RefusedError, read

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
    return sorted(p.name for p in paths if p.suffix != '.lock' and p.is_file())


def test_a_download_is_made_once(tmp_path, web):
    torch.save(dict(value=1), tmp_path / 'web/file.pth')
    for _ in range(2):
        assert load_url(f'{web.url}/file.pth?token=x', progress=False)['value'] == 1
    assert len(web.requests) == 1
    assert kept(tmp_path) == ['file.pth', 'file.pth.sums.json']


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
    monkeypatch.setattr(downloads, 'TIMEOUT', 0.5)
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
    with pytest.raises(
        CheckpointError,
        match=r'could not be downloaded \(the file is truncated: its end is '
        r'missing\)\. Download it elsewhere',
    ):
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
        (
            'file.pth',
            b'\n<HTML><title>Log\n in</title>',
            'a web page.*the file: Log in',
        ),
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
    with pytest.raises(
        CheckpointError, match=r'http://\[::1/x\.pth is not a valid address'
    ):
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
    monkeypatch.setattr(downloads, 'FileLock', lambda path: pytest.fail('written to'))
    assert fetch(['http://127.0.0.1:9/file.pth'], folder / 'file.pth') == dict(value=1)


# Lengths and sums


@pytest.fixture
def download(tmp_path, web):
    """Download a file to file.pth; each value is another one on the server."""

    def get(value=None, **options):
        if value is not None:
            torch.save(torch.full((1000,), value), tmp_path / 'web/file.pth')
        url = f'{web.url}/file.pth'
        return fetch([url], tmp_path / 'cache/file.pth', progress=False, **options)[0]

    return get


def test_sums_are_stored_with_the_first_download(tmp_path, download):
    download(1.0)
    stored = json.loads((tmp_path / 'cache/file.pth.sums.json').read_text())
    content = (tmp_path / 'web/file.pth').read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert stored == dict(length=len(content), sha256=sha256)


@pytest.mark.parametrize(
    'names', [('a.pth', 'a.ckpt'), ('m_v1.0', 'm_v1.1'), ('a', 'a.pth')]
)
def test_each_file_has_its_own_sums(tmp_path, web, names):
    for value, name in enumerate(names):
        torch.save(value, tmp_path / 'web' / name)
    for _ in range(2):
        for value, name in enumerate(names):
            assert fetch([f'{web.url}/{name}'], tmp_path / 'cache' / name) == value
    assert web.requests == [f'/{name}' for name in names]


def test_a_changed_file_is_downloaded_again(tmp_path, web, download, log):
    """Also if it is a good checkpoint of the same length."""
    download(1.0)
    torch.save(torch.full((1000,), 2.0), tmp_path / 'cache/file.pth')
    assert download() == 1
    assert len(web.requests) == 2 and 'is damaged or a different file' in log.text
    assert download() == 1 and len(web.requests) == 2


def test_a_server_that_changes_its_file_is_not_trusted(tmp_path, download):
    download(1.0)
    (tmp_path / 'cache/file.pth').unlink()
    with pytest.raises(
        CheckpointError,
        match=r'downloaded .*different file.*sha256.*put file\.pth into .*/cache '
        r'\(delete file\.pth\.sums\.json there if the file has changed on purpose\)$',
    ):
        download(2.0)
    assert not (tmp_path / 'cache/file.pth').exists()
    (tmp_path / 'cache/file.pth.sums.json').unlink()
    assert download() == 2


def test_a_file_replaced_on_purpose_is_kept_without_its_sums(tmp_path, web, download):
    download(1.0)
    torch.save(torch.full((1000,), 2.0), tmp_path / 'cache/file.pth')
    (tmp_path / 'web/file.pth').write_text('<html>quota')
    with pytest.raises(CheckpointError, match=r'quota .*delete file\.pth\.sums\.json'):
        download()
    (tmp_path / 'cache/file.pth.sums.json').unlink()
    assert download() == 2 and len(web.requests) == 2


def test_known_sums_are_checked_before_the_first_load(tmp_path, web, download):
    torch.save(torch.full((1000,), 1.0), tmp_path / 'good')
    good = sums_of(tmp_path / 'good')
    with pytest.raises(CheckpointError, match='different file'):
        download(2.0, sums=good)
    assert not (tmp_path / 'cache/file.pth').exists()
    (tmp_path / 'good').replace(tmp_path / 'web/file.pth')
    assert download(sums=good) == 1
    with pytest.raises(
        CheckpointError, match=f'expected {good.length} bytes .* into {tmp_path}/cache$'
    ):
        download(sums=Sums(good.length, '0' * 64))


@pytest.mark.parametrize('text', ['', '[]', '{"length": 3}'])
def test_damaged_sums_are_named_and_ignored(tmp_path, web, download, log, text):
    download(1.0)
    path = tmp_path / 'cache/file.pth.sums.json'
    path.write_text(text)
    assert download() == 1 and len(web.requests) == 1
    assert f'file.pth is not checked, because {path} should hold a len' in log.text
    (tmp_path / 'cache/file.pth').unlink()
    assert download(2.0) == 2
    assert json.loads(path.read_text())['sha256']


# Several sources


def test_sources_are_tried_in_their_order(tmp_path, web, log):
    torch.save('good', tmp_path / 'web/good.pth')
    (tmp_path / 'web/page.pth').write_text('<!DOCTYPE html><html>')
    urls = [f'{web.url}/{name}.pth' for name in ('none', 'page', 'good', 'other')]
    assert fetch(urls, tmp_path / 'cache/file.pth') == 'good'
    # The server notes an error as a second request.
    paths = list(dict.fromkeys(web.requests))
    assert paths == ['/none.pth', '/page.pth', '/good.pth']
    assert 'none.pth could not be downloaded (HTTP Error 404' in log.text


def test_code_from_one_source_ends_the_download(tmp_path, web):
    torch.save(Bomb(tmp_path / 'marker'), tmp_path / 'web/code.pth')
    torch.save('good', tmp_path / 'web/good.pth')
    urls = [f'{web.url}/code.pth', f'{web.url}/good.pth']
    with pytest.raises(RefusedError):
        fetch(urls, tmp_path / 'cache/file.pth')
    assert not (tmp_path / 'cache/file.pth').exists()


def test_each_failure_is_named_once(tmp_path, web):
    (tmp_path / 'web/page.pth').write_text('<html>')
    urls = [f'{web.url}/none.pth', f'{web.url}/page.pth']
    with pytest.raises(CheckpointError) as error:
        fetch(urls, tmp_path / 'cache/file.pth')
    assert str(error.value) == (
        f'{urls[0]} could not be downloaded (HTTP Error 404: File not found); '
        f'{urls[1]} could not be downloaded (the server sent a web page instead of '
        f'the file: without a title). Download it elsewhere and put file.pth into '
        f'{tmp_path}/cache'
    )
