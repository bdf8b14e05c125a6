"""The safe reader: what it refuses and, on request, accepts."""

import io
import os
import tarfile

import pytest
import torch

from lightvit_mm.safe_load import CheckpointError, RefusedError, read

from .hostile import Bomb


@pytest.fixture(autouse=True)
def protection(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)


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
