"""hf://OWNER/NAME, against a local server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from lightvit_mm import hugging_face
from lightvit_mm.checkpoints import read_state_dict
from lightvit_mm.config import config_name, read_config
from lightvit_mm.safe_load import CheckpointError

from .hub import serving

pytest.importorskip('huggingface_hub')

PREDICT = Path(__file__).parents[2] / 'tools/predict.py'


@pytest.fixture(scope='module')
def server():
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The server, as huggingface_hub's, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'ENDPOINT', server.address)
    monkeypatch.setattr(
        constants,
        'HUGGINGFACE_CO_URL_TEMPLATE',
        server.address + '/{repo_id}/resolve/{revision}/{filename}',
    )
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    server.models.clear()
    server.asked.clear()
    hugging_face.download.cache_clear()
    return server


def test_model_is_downloaded_once(hub, small_model):
    hub.models['me/fruits', 'main'] = small_model.published
    for _ in range(2):
        found = CheckpointLoader.load_checkpoint('hf://me/fruits')['state_dict']
    expected = read_state_dict(small_model.checkpoint)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    cfg = read_config('hf://me/fruits')
    assert cfg.to_dict() == read_config(str(small_model.published)).to_dict()
    weights = [path for path in hub.asked if path.endswith('model.safetensors')]
    assert len(weights) == 2  # HEAD and GET
    # The other copy of the weights is not downloaded.
    assert not any('.pth' in path for path in hub.asked)


def test_config_and_weights_are_of_the_same_commit(hub, small_model, models):
    """Even if the author uploads between the two."""
    hub.models['me/fruits', 'main'] = small_model.published
    read_config('hf://me/fruits')
    hub.asked.clear()
    CheckpointLoader.load_checkpoint('hf://me/fruits')
    assert hub.asked == []


@pytest.mark.parametrize('name', ['ProxyError', 'RemoteProtocolError'])
def test_broken_connections_are_explained(hub, monkeypatch, name):
    from huggingface_hub import errors

    client = sys.modules[errors.HTTPError.__module__.partition('.')[0]]
    if not hasattr(client, name):
        pytest.skip('This huggingface_hub uses requests, whose errors are OSErrors')

    def fail(*args, **kwargs):
        raise getattr(client, name)('broken')

    monkeypatch.setattr('huggingface_hub.snapshot_download', fail)
    with pytest.raises(CheckpointError, match=f'{name}: broken'):
        read_config('hf://me/fruits')


def test_revision_is_taken(hub, small_model, models):
    hub.models['me/fruits', 'main'] = small_model.published
    hub.models['me/fruits', 'v2'] = models('mmseg').published
    assert read_config('hf://me/fruits').default_scope == 'mmpretrain'
    assert read_config('hf://me/fruits@v2').default_scope == 'mmseg'


def test_name_is_that_of_the_repository():
    assert config_name('hf://me/fruits-1.5@main') == 'fruits-1.5'


def test_changed_file_is_refused(hub, small_model, tmp_path):
    import shutil

    shutil.copytree(small_model.published, tmp_path / 'changed')
    with open(tmp_path / 'changed/config.py', 'a') as file:
        file.write('\n')
    hub.models['me/fruits', 'main'] = tmp_path / 'changed'
    with pytest.raises(CheckpointError, match='config.py has the sha256'):
        read_config('hf://me/fruits')


def test_missing_repository_is_explained(hub):
    with pytest.raises(
        CheckpointError, match='hf://me/nothing could not be downloaded'
    ):
        CheckpointLoader.load_checkpoint('hf://me/nothing')


def test_other_repositories_are_no_published_models(hub, tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/config.py').touch()
    hub.models['me/other', 'main'] = tmp_path / 'other'
    with pytest.raises(CheckpointError, match='not a published model'):
        read_config('hf://me/other')


@pytest.mark.parametrize(
    'address', ['hf://fruits', 'hf://me/fruits/model.pth', 'hf://me/a b', 'hf://me/f@']
)
def test_other_addresses_are_refused(address):
    with pytest.raises(ValueError, match='should be hf://OWNER/NAME'):
        read_config(address)


@pytest.mark.parametrize('module', ['huggingface_hub', 'safetensors'])
def test_missing_package_is_named(monkeypatch, module):
    monkeypatch.setattr(
        'lightvit_mm.installed.find_spec', lambda name: None if name == module else True
    )
    hugging_face.download.cache_clear()
    with pytest.raises(ModuleNotFoundError) as error:
        CheckpointLoader.load_checkpoint('hf://me/fruits')
    assert str(error.value) == (
        f'{module} is not installed: pip install "lightvit_mm[hub]"'
    )


@pytest.mark.slow
def test_predict_takes_an_address(server, small_model, tmp_path):
    """As a user sets the server: by the environment."""
    from PIL import Image

    server.models['me/fruits', 'main'] = small_model.published
    Image.new('RGB', (80, 70), 'red').save(tmp_path / 'photo.png')
    subprocess.run(
        [sys.executable, PREDICT, *['hf://me/fruits'] * 2, 'photo.png', '--out', 'out'],
        cwd=tmp_path,
        env={**os.environ, 'HF_ENDPOINT': server.address, 'HF_HOME': str(tmp_path)},
        check=True,
    )
    assert (tmp_path / 'out/pictures/photo.png').is_file()
