"""mmengine loads its own checkpoints, and nothing in others is executed."""

import builtins
import functools
import io
import itertools
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.infer import BaseInferencer
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint, load_checkpoint

from lightvit_mm.safe_load import RefusedError
from lightvit_mm.weights import RELEASED, Weights

from ..hostile import serve
from ..toy import Toy, ToyData, make_runner


@pytest.fixture(autouse=True)
def protection(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)


reads_training_state = pytest.mark.skipif(
    torch.__version__ < '2.6',
    reason="its safe reader refuses mmengine's state",
)


SCHEDULERS = [
    dict(type='OneCycleLR', eta_max=0.2, total_steps=4, by_epoch=False),
    dict(
        type='OneCycleLR',
        eta_max=0.2,
        total_steps=4,
        by_epoch=False,
        anneal_strategy='linear',
    ),
    [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
        dict(type='MultiStepLR', milestones=[1]),
    ],
    dict(type='ReduceOnPlateauLR', monitor='score', patience=0),
    dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=False),
]


@reads_training_state
@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_resumed_training_ends_like_an_uninterrupted_one(tmp_path, scheduler):
    whole = make_runner(tmp_path, scheduler)
    whole.train()
    resumed = make_runner(
        tmp_path, scheduler, load_from=str(tmp_path / 'epoch_1.pth'), resume=True
    )
    resumed.train()

    assert resumed.iter == whole.iter == 4
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], parameter)
    hubs = whole.message_hub, resumed.message_hub
    for name in ('train/lr', 'train/loss', 'val/score'):
        history, again = (hub.get_scalar(name).data for hub in hubs)
        np.testing.assert_array_equal(history, again)
    best, again = (hub.get_info('best_score') for hub in hubs)
    assert best == again and isinstance(again, np.float32)
    assert resumed.message_hub.get_info('dataset_meta') == ToyData.metainfo


def save_legacy(content):
    """A checkpoint in torch.save's old format, in which names can be replaced."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@reads_training_state
@pytest.mark.parametrize(
    'module', [b'numpy.core.multiarray', b'numpy._core.multiarray']
)
def test_arrays_of_numpy_1_and_2_are_read(module):
    own = np.empty(0).__reduce__()[0].__module__.encode()
    content = [np.arange(3.0), np.float32(0.5), np.array([True]), np.int64(2)]
    data = save_legacy(content)
    assert own + b'\n_reconstruct' in data and own + b'\nscalar' in data
    loaded = torch.load(io.BytesIO(data.replace(own, module)))
    for value, again in zip(content, loaded):
        np.testing.assert_array_equal(value, again)
        assert again.dtype == value.dtype


@reads_training_state
def test_history_keeps_its_statistics():
    """Its functions are the only ones in mmengine's checkpoints."""
    history = HistoryBuffer([1, 2, 6], [1, 1, 1])
    data = save_legacy(history)
    assert b'getattr' in data
    again = torch.load(io.BytesIO(data))
    assert [again.statistics(name) for name in ('min', 'max', 'mean')] == [
        1,
        6,
        3,
    ] and again.current() == 6


class Payload:
    """Unpickling it calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(marker):
    """Contents that create a file if the loader executes them."""
    shell = f'echo > {marker}'
    write = f'open({str(marker)!r}, "w")'
    return [
        Payload(os.system, shell),
        Payload(builtins.eval, write),
        Payload(builtins.exec, write),
        Payload(subprocess.getoutput, shell),
        Payload(functools.partial(os.system, shell)),
        Payload(Path.touch, marker),
        [Payload(getattr, Path(marker), 'touch')],
    ]


@pytest.mark.parametrize('index', range(7))
def test_checkpoint_with_code_is_refused(tmp_path, index):
    marker, file = tmp_path / 'marker', str(tmp_path / 'checkpoint.pth')
    content = dict(state_dict=Toy().state_dict())
    content['meta'] = payloads(marker)[index]
    torch.save(content, file)

    with pytest.raises(RefusedError, match='may carry code'):
        load_checkpoint(Toy(), file)
    runner = make_runner(tmp_path, SCHEDULERS[0], load_from=file, resume=True)
    with pytest.raises(RefusedError, match='may carry code'):
        runner.train()
    assert not marker.exists()
    if index < 6:  # the unsafe loader executes it
        torch.load(file, weights_only=False)
        assert marker.exists()


@pytest.mark.parametrize(
    'owner, name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '__dict__'),
        (HistoryBuffer, '__subclasses__'),
        (HistoryBuffer, '_statistics_methods'),
        (OneCycleParamScheduler, 'min'),
        (np.ndarray, 'tofile'),
        (torch.Tensor, 'min'),
    ],
)
def test_checkpoint_gets_no_other_attributes(tmp_path, owner, name):
    file = str(tmp_path / 'checkpoint.pth')
    torch.save(dict(state_dict=Payload(getattr, owner, name)), file)
    with pytest.raises(RefusedError, match='may carry code'):
        load_checkpoint(Toy(), file)


# Addresses


@pytest.fixture
def web(tmp_path, monkeypatch):
    """The folder of a web server, and the address of a file in it."""
    folder = tmp_path / 'web'
    folder.mkdir()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    with serve(folder) as server:
        yield folder, f'{server.url}/file.pth'


class Storage:
    """Stands for petrel and for pavi, which hold one file."""

    def __init__(self, path):
        self.path, self.name = path, path.name

    def get(self, _):
        return self.path.read_bytes()

    def download(self, path):
        shutil.copy(self.path, path)


def sources(path, url, monkeypatch):
    """Addresses of one file for each prefix that mmengine knows."""
    storage = Storage(path)
    monkeypatch.setattr(checkpoint, 'get_file_backend', lambda *args, **kw: storage)
    pavi = SimpleNamespace(modelcloud=SimpleNamespace(get=lambda name: storage))
    monkeypatch.setitem(sys.modules, 'pavi', pavi)
    models = dict(web=url, local=str(path))
    monkeypatch.setattr(checkpoint, 'get_torchvision_models', lambda: models)
    monkeypatch.setattr(checkpoint, 'get_mmcls_models', lambda: models)
    monkeypatch.setattr(checkpoint, 'get_external_models', lambda: models)
    monkeypatch.setattr(checkpoint, 'get_deprecated_model_names', dict)
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(path.parent))
    monkeypatch.setitem(
        RELEASED, 'lightvit://tiny-in1k', Weights(path.name, 'classifier', (url,))
    )
    return {
        '': [str(path)],
        'http://': [url],
        'https://': [],  # as http://
        'pavi://': ['pavi://file'],
        r'(\S+\:)?s3://': ['s3://file', 'open-mmlab:s3://file'],
        r'(\S+\:)?petrel://': ['petrel://file'],
        'modelzoo://': ['modelzoo://web'],
        'torchvision://': ['torchvision://web'],
        'open-mmlab://': ['open-mmlab://web', 'open-mmlab://local'],
        'openmmlab://': ['openmmlab://web', 'openmmlab://local'],
        'mmcls://': ['mmcls://web'],
        'lightvit://': ['lightvit://tiny-in1k'],
        'hf://': [],  # safetensors; see tests/publish/test_hugging_face.py
    }


def test_no_source_executes_code(web, tmp_path, monkeypatch):
    folder, url = web
    marker = tmp_path / 'marker'
    torch.save(dict(state_dict=payloads(marker)[0]), folder / 'file.pth')
    addresses = sources(folder / 'file.pth', url, monkeypatch)
    # Whoever adds a source adds it here, too.
    assert set(addresses) == set(checkpoint.CheckpointLoader._schemes)
    for address in itertools.chain(*addresses.values()):
        with pytest.raises(RefusedError, match=r'may carry code.*posix\.system'):
            load_checkpoint(Toy(), address)
    assert not marker.exists()


def test_every_source_gives_the_weights(web, monkeypatch):
    folder, url = web
    weights = {'layer.weight': torch.tensor([[3.0, 4.0]]), 'layer.bias': torch.ones(1)}
    torch.save(dict(state_dict=weights), folder / 'file.pth')
    addresses = sources(folder / 'file.pth', url, monkeypatch)
    for address in itertools.chain(*addresses.values()):
        if not address.startswith(('mmcls', 'lightvit')):  # they rename weights
            model = Toy()
            load_checkpoint(model, address, strict=True)
            assert torch.equal(model.layer.weight, weights['layer.weight'])


# Resuming


def resume_after(tmp_path, change, work_dir='resumed', max_keep_ckpts=-1):
    """Train an epoch, change its checkpoint, and resume from it.

    Returns the runner, and the weights of an uninterrupted run.
    """
    whole = make_runner(tmp_path / 'whole', SCHEDULERS[2])
    whole.train()
    path = tmp_path / 'whole/epoch_1.pth'
    content = torch.load(path)
    change(content)
    torch.save(content, path)
    resumed = make_runner(
        tmp_path / work_dir, SCHEDULERS[2], load_from=str(path), resume=True
    )
    for hook in resumed.hooks:
        if isinstance(hook, CheckpointHook):
            hook.max_keep_ckpts = max_keep_ckpts
    resumed.train()
    return resumed, whole.model.state_dict()


@reads_training_state
@pytest.mark.parametrize('kind', [dict, OrderedDict])
def test_resuming_does_not_execute_the_stored_config(tmp_path, kind):
    marker = tmp_path / 'marker'

    def change(content):
        code = f'open({str(marker)!r}, "w")'
        content['meta'] = kind(content['meta'], config=code)
        if kind is OrderedDict:
            # The safe loader sets the attributes of an OrderedDict.
            content['meta'].pop = OrderedDict

    resumed, weights = resume_after(tmp_path, change)
    assert not marker.exists()
    for name, parameter in resumed.model.state_dict().items():
        assert torch.equal(parameter, weights[name])


@reads_training_state
@pytest.mark.parametrize('name', ['victim', 'victim/best_thesis.pth'])
def test_resuming_deletes_nothing_outside_its_folder(tmp_path, name):
    (tmp_path / 'victim').mkdir()
    (tmp_path / 'victim/best_thesis.pth').touch()

    def change(content):
        info = content['message_hub']['runtime_info']
        info['best_ckpt'] = str(tmp_path / name)
        info['best_score'] = 1e9  # so that the next is better

    resume_after(tmp_path, change)
    assert (tmp_path / 'victim/best_thesis.pth').exists()
    assert list((tmp_path / 'resumed').glob('best_*'))


@reads_training_state
def test_resuming_replaces_its_best_checkpoint(tmp_path):
    """Also in a folder that has been moved."""

    def change(content):
        info = content['message_hub']['runtime_info']
        assert Path(info['best_ckpt']).name == 'best_score_epoch_1.pth'
        (tmp_path / 'whole/best_score_epoch_1.pth').touch()  # as it was after epoch 1
        info['best_ckpt'] = '/elsewhere/best_score_epoch_1.pth'
        info['best_score'] = 1e9

    resume_after(tmp_path, change, 'whole')
    best = [path.name for path in (tmp_path / 'whole').glob('best_*')]
    assert best == ['best_score_epoch_2.pth']


@reads_training_state
def test_steps_in_a_checkpoint_are_no_paths(tmp_path):
    (tmp_path / 'resumed/epoch_1.pth').mkdir(parents=True)  # as of DeepSpeed
    (tmp_path / 'victim.pth').touch()

    def change(content):
        steps = ['1.pth/../../victim', 1]
        content['message_hub']['runtime_info']['keep_ckpt_ids'] = steps

    resume_after(tmp_path, change, max_keep_ckpts=1)
    assert (tmp_path / 'victim.pth').exists()


# Inferencers


class ToyInferencer(BaseInferencer):
    def _init_pipeline(self, cfg):
        return None

    def visualize(self, *args, **kwargs):
        pass

    def postprocess(self, *args, **kwargs):
        pass


@pytest.mark.parametrize('key', ['meta', 'message_hub'])
def test_inferencers_do_not_execute_the_stored_config(tmp_path, monkeypatch, key):
    marker, path = tmp_path / 'marker', str(tmp_path / 'file.pth')
    code = dict(cfg=f'open({str(marker)!r}, "w")\nmodel = dict()')
    content = dict(state_dict=Toy().state_dict())
    content[key] = code if key == 'meta' else dict(runtime_info=code)
    torch.save(content, path)
    with pytest.raises(RefusedError, match=r'needs its config.*LIGHTVIT_MM_UNSAFE'):
        ToyInferencer(weights=path, scope='mmengine')
    assert not marker.exists()

    monkeypatch.setenv('LIGHTVIT_MM_UNSAFE_LOAD', '1')
    with pytest.raises(KeyError):  # the empty model
        ToyInferencer(weights=path, scope='mmengine')
    assert marker.exists()
