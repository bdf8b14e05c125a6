"""The patches of lightvit_mm.compat: each does its job and nothing more."""

import builtins
import copy
import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, load_checkpoint, save_checkpoint

from lightvit_mm import compat
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

ROOT = Path(__file__).parents[2]

restricted_loader = pytest.mark.skipif(
    torch.__version__ < '2.6', reason='torch.load is not restricted'
)


HEADER = (
    f'import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom lightvit_mm import compat\n'
)


def run_python(code, header=HEADER, options=()):
    """The words that a script prints in a new process, where `compat` is imported."""
    return subprocess.run(
        [sys.executable, *options, '-c', header + code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


# The operators


def test_installing_is_light_and_idempotent():
    heavy = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
    assert run_python(
        'before = sys.meta_path[:]\n'
        'compat.install(); print(sys.meta_path == before)\n'
        f'print(*set({heavy}) & set(sys.modules))'
    ) == ['True']


PTH = (ROOT / 'lightvit_mm/compat/lightvit_mm.pth').read_text()


def test_start_up_adds_one_finder_and_nothing_more():
    assert PTH == 'import lightvit_mm_finder\n'
    assert len((ROOT / 'lightvit_mm_finder.py').read_text().splitlines()) <= 30
    assert run_python(
        # -S: without the .pth files of this environment.
        'before = set(sys.modules), len(sys.meta_path)\n'
        + PTH
        + 'print(*set(sys.modules) - before[0])\n'
        'print(len(sys.meta_path) - before[1], sys.meta_path[-1].__name__)',
        header=f'import os, sys; sys.path.insert(0, {str(ROOT)!r})\n',
        options=['-S'],
    ) == ['lightvit_mm_finder', '1', 'MmcvExtFinder']


def test_finder_is_installed_once():
    assert run_python(
        PTH + 'import lightvit_mm\n' + PTH + 'print(sum("MmcvExtFinder" in str(finder)'
        ' for finder in sys.meta_path))',
        header=f'import sys; sys.path.insert(0, {str(ROOT)!r})\n',
    ) == ['1']


def test_finder_finds_only_the_operators():
    assert (
        run_python(
            PTH + 'finder = sys.meta_path[-1]\n'
            'print(*(finder.find_spec(name) for name in ("pkg_resources", "mmcv", '
            '"mmcv.ops", "lightvit_mm")))',
        )
        == ['None'] * 4
    )


@pytest.mark.parametrize('script', ['', 'import lightvit_mm\n'])
def test_an_environment_variable_disables_the_finder(script):
    env = {**os.environ, 'LIGHTVIT_MM_NO_FINDER': '1'}
    code = script + 'import sys; print([f for f in sys.meta_path if "Mmcv" in str(f)])'
    out = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True
    )
    assert out.stdout == '[]\n', out.stderr


class SharedLoader(Loader):
    """One loader of several modules, as for a zip file."""

    __slots__ = ('executed',)

    def __init__(self):
        self.executed = []

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        self.executed.append(module.__name__)


@pytest.fixture
def patched(monkeypatch):
    """The finder with one patch, of the module `patched`; names that were patched."""
    names = []
    patch = compat.Patch('patched', 'file.function', '', '', '', '')
    monkeypatch.setattr(compat, 'PATCHES', (patch,))
    monkeypatch.setattr(
        compat, 'apply', lambda patch, module: names.append(module.__name__)
    )
    return compat.PatchFinder(), names


def test_a_patch_leaves_a_shared_loader_unchanged(patched, monkeypatch):
    finder, names = patched
    loader = SharedLoader()

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            known = name in ('patched', 'other')
            return ModuleSpec(name, loader) if known else None

    class OldFinder:
        """As before Python 3.4, without find_spec."""

        @staticmethod
        def find_module(name, path=None):
            return None

    monkeypatch.setattr(sys, 'meta_path', [finder, OldFinder, Finder])
    for name in ('patched', 'other'):
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        assert module.__loader__ is module.__spec__.loader is loader
        monkeypatch.delitem(sys.modules, name)
    assert loader.executed == ['patched', 'other'] and names == ['patched']


def test_a_folder_of_a_patched_name_is_imported_as_ever(patched, monkeypatch, tmp_path):
    finder, names = patched
    (tmp_path / 'patched').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [finder, *sys.meta_path])
    importlib.import_module('patched')
    monkeypatch.delitem(sys.modules, 'patched')
    assert names == []


def test_extension_of_mmcv_comes_first(tmp_path):
    (tmp_path / '_ext.py').write_text('nms = "of mmcv"')
    assert run_python(
        'import mmcv'
        f'\nmmcv.__path__.insert(0, {str(tmp_path)!r})'
        '\nimport mmcv._ext; print(mmcv._ext.nms)'
    ) == ['of', 'mmcv']


def test_mmdet_builds_mask_rcnn():
    assert run_python("""
from mmcv.utils import collect_env
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
register_all_modules()
cfg = get_config('mmdet::_base_/models/mask-rcnn_r50_fpn.py')
print(type(MODELS.build(cfg.model)).__name__)
print(isinstance(collect_env()['MMCV Compiler'], str))
""")[-2:] == ['MaskRCNN', 'True']


# Configs


@pytest.fixture
def mmdet_scope():
    pytest.importorskip('mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def test_mmdets_inferencer_takes_a_name_and_weights(mmdet_scope, tmp_path):
    from mmdet.apis import DetInferencer

    name = 'lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py'
    classes = tuple('abcdefghij')
    weights = build_model(read_config(name)).state_dict()
    path = str(tmp_path / 'model.pth')
    meta = dict(dataset_meta=dict(classes=classes))
    save_checkpoint(dict(meta=meta, state_dict=weights), path)

    inferencer = DetInferencer(name, weights=path, device='cpu', show_progress=False)
    assert inferencer.model.dataset_meta['classes'] == classes
    loaded = inferencer.model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    image = np.random.randint(0, 256, (60, 80, 3), np.uint8)
    assert set(inferencer(image)['predictions'][0]) >= {'bboxes', 'masks', 'scores'}


def test_mmsegs_inferencer_takes_a_name():
    pytest.importorskip('mmseg')
    from mmseg.apis import MMSegInferencer

    with DefaultScope.overwrite_default_scope('mmseg'):
        inferencer = MMSegInferencer(
            'lightvit_mm::semantic_fpn_lightvit_t_ade20k.py', device='cpu'
        )
    assert type(inferencer.model.backbone).__name__ == 'LightViT'
    assert inferencer.model.decode_head.num_classes == 150


def test_inferencers_explain_unknown_names(mmdet_scope):
    from mmdet.apis import DetInferencer

    with pytest.raises(
        FileNotFoundError, match='close to it: .*mask_rcnn_lightvit_t_1'
    ):
        DetInferencer('lightvit_mm::mask_rcnn_lightvit_t_2x.py')
    with pytest.raises(ValueError, match='Cannot find model: nothing in mmdet'):
        DetInferencer('nothing')


# Checkpoints


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.zeros_(self.layer.bias)

    def forward(self, inputs, mode):
        loss = (self.layer(torch.stack(inputs)) - 1).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


class ToyData(torch.utils.data.Dataset):
    # Dataset classes keep the ConfigDict of their config.
    metainfo: ClassVar = dict(classes=('a', 'b'), skeleton=ConfigDict(links=[(0, 1)]))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index, 1 - 0.5 * index]))


class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(data_samples[0].item())

    def compute_metrics(self, results):
        return dict(score=np.float32(np.mean(results)))


def make_runner(work_dir, scheduler, **settings):
    loader = dict(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=ToyData(),
    )
    return Runner(
        Toy(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(),
        val_evaluator=Evaluator(ToyMetric()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, betas=(0.8, 0.9))),
        param_scheduler=copy.deepcopy(scheduler),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, save_best='score', rule='less'
            )
        ),
        experiment_name=str(uuid4()),
        log_level='ERROR',
        **settings,
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


@restricted_loader
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


@restricted_loader
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
@restricted_loader
def test_checkpoint_with_code_is_refused(tmp_path, index):
    marker, file = tmp_path / 'marker', str(tmp_path / 'checkpoint.pth')
    content = dict(state_dict=Toy().state_dict())
    content['meta'] = payloads(marker)[index]
    torch.save(content, file)

    with pytest.raises(pickle.UnpicklingError, match='Weights only load fail'):
        load_checkpoint(Toy(), file)
    runner = make_runner(tmp_path, SCHEDULERS[0], load_from=file, resume=True)
    with pytest.raises(pickle.UnpicklingError, match='Weights only load fail'):
        runner.train()
    assert not marker.exists()
    if index < 6:  # the unsafe loader executes it
        torch.load(file, weights_only=False)
        assert marker.exists()


@restricted_loader
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
    with pytest.raises(pickle.UnpicklingError, match='may carry code'):
        load_checkpoint(Toy(), file)
