"""The patches of lightvit_mm.compat: each does its job and nothing more."""

import importlib
import os
import subprocess
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint

from lightvit_mm import compat
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

ROOT = Path(__file__).parents[2]

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


@pytest.mark.parametrize(
    'config, weights',
    [
        ('mask_rcnn_lightvit_b_3x.py', 'lightvit://base-mask-rcnn-3x-coco'),
        ('retinanet_lightvit_t_1x.py', None),
    ],
)
def test_inferencers_take_the_published_weights(config, weights):
    from mmengine.infer import BaseInferencer

    cfg, found = BaseInferencer._load_model_from_metafile(
        None, f'lightvit_mm::{config}'
    )
    assert Path(cfg.filename).name == config and found == weights


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
