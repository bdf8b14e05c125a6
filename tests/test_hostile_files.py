"""The tools with files that were made to harm the person who opens them."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from lightvit_mm.checkpoints import CheckpointError

from .hostile import Bomb, serve

pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs/demo/lightvit_t_digits.py'


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """The address of a checkpoint with code; nobody may execute it."""
    marker = tmp_path / 'marker'
    torch.save(dict(state_dict=Bomb(marker), meta={}), tmp_path / 'bomb.pth')
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    with serve(tmp_path) as server:
        yield f'{server.url}/bomb.pth'
    assert not marker.exists()
    assert list((tmp_path / 'hub/checkpoints').rglob('*.pth')) == []


COMMANDS = {
    'test': ['tools/test.py', CONFIG, 'URL'],
    'load_from': ['tools/train.py', CONFIG, '--cfg-options', 'load_from=URL'],
    'resume': ['tools/train.py', CONFIG, '--resume', 'URL'],
    'init_cfg': [
        'tools/train.py',
        CONFIG,
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=URL',
    ],
    'predict': ['tools/predict.py', CONFIG, 'URL', ROOT / 'docs/demo.jpg'],
    'export': ['tools/deploy/export.py', CONFIG, 'URL'],
}


@pytest.mark.parametrize('name', COMMANDS)
def test_a_downloaded_checkpoint_executes_nothing(
    digits, tmp_path, monkeypatch, bomb, name
):
    tool, *arguments = [str(x).replace('URL', bomb) for x in COMMANDS[name]]
    if name in ('test', 'load_from', 'resume', 'init_cfg'):
        if '--cfg-options' not in arguments:
            arguments.append('--cfg-options')
        arguments += [
            f'{split}_dataloader.dataset.data_root={digits}/classification/{folder}'
            for split, folder in (('train', 'train'), ('val', 'val'), ('test', 'val'))
        ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    with pytest.raises((SystemExit, CheckpointError)) as error:
        runpy.run_path(str(ROOT / tool), run_name='__main__')
    message = str(error.value)
    assert re.search(rf'{bomb} was refused.*posix\.mkdir', message), message
    assert '\n' not in message
