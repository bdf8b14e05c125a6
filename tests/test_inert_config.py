"""Configs that are parsed as data, and what they may name."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from lightvit_mm.config import read_config
from lightvit_mm.inert_config import check, parse
from lightvit_mm.safe_load import RefusedError

ROOT = Path(__file__).parents[1]
PATH = Path('config.py')


def test_values_are_those_that_python_reads():
    text = """
a = 1
b = dict(x=-0.5, y=None, z=(1, [True, 'text']))
c = dict({'.key': dict(), 'other': {1: 2}})
d = ()
"""
    expected = {}
    exec(text, expected)
    del expected['__builtins__']
    assert parse(text, PATH) == expected
    # imrescale of mmcv tells tuples from lists.
    assert type(parse('a = (1, 2)', PATH)['a']) is tuple


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = 1 + 1; b = a',
        'a = __import__("os")',
        'a = dict(b=print())',
        'a = dict(*[1])',
        'a = dict(**{"b": 1})',
        'a = dict({"b": 1}, c=2)',
        'a = f"{print()}"',
        'a = [x for x in (1,)]',
        'a.b = 1',
        'a, b = 1, 2',
        'a = b = 1',
        'a: int = 1',
        'a += 1',
        'print()',
        'a = (',
        'a = "\0"',
        'a = ' + '[' * 300 + ']' * 300,
        'a = ' + '-' * 10**5 + '1',
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(RefusedError, match='config.py was refused') as error:
        parse(text, PATH)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'settings',
    [
        dict(custom_imports=dict(imports=['os'])),
        dict(_base_='other.py'),
        dict(model=dict(trust_remote_code=True)),
        dict(default_scope='os'),
        dict(model=dict(_scope_='this')),
        dict(a=[dict(b=(dict(type='os.system', command='true'),))]),
        dict(model=dict(type='subprocess.Popen')),
        dict(model=dict(type='mmengine.load')),
        dict(model=dict(type='mmengine.utils.package_utils.call_command')),
        dict(model=dict(type='antigravity')),
        dict(model=dict(type='__main__')),
        dict(model=dict(type='a b()')),
        dict(runner_type='os.system'),
        dict(optim_wrapper=dict(constructor='os.system')),
        dict(hooks=[dict(type='EMAHook', ema_type='os.system')]),
        dict(nms=dict(type='__import__("os")')),
        dict(step=dict(type='torchvision/ToTensor', dtype='hub.load("a")')),
        dict(hook=dict(type='RFSearchHook')),
        dict(hook=dict(type='mmdet.CameraMotionCompensation')),
    ],
    ids=str,
)
def test_names_that_lead_to_code_are_refused(settings):
    with pytest.raises(RefusedError, match='may carry code'):
        check(settings, PATH)


@pytest.mark.parametrize(
    'name', ['FPN', 'nms', 'lightvit_mm.LightViT', 'mmengine.EMAHook', 'UnknownClass']
)
def test_names_of_the_libraries_are_accepted(name):
    check(dict(model=dict(type=name)), PATH)


def test_refusal_names_the_value():
    with pytest.raises(RefusedError, match=r"type='os.system' is not from lightvit_mm"):
        check(dict(model=dict(type='os.system')), PATH)


@pytest.mark.parametrize(
    'path',
    [
        'lightvit_t_8xb128_in1k.py',
        'finetune_lightvit_t.py',
        'mask_rcnn_lightvit_t_1x.py',
        'semantic_fpn_lightvit_t_ade20k.py',
    ],
)
def test_own_configs_are_accepted(path):
    """As mmengine writes them."""
    cfg = read_config(str(ROOT / 'configs' / path))
    pytest.importorskip(cfg.default_scope)
    cfg.pop('custom_imports', None)
    settings = parse(Config(cfg.to_dict()).pretty_text, PATH)
    assert settings == cfg.to_dict()
    check(settings, PATH)


# Functions whose argument is not from a config, or that inert_config covers.
EVALUATED = {
    'mmengine/config/config.py': 'reads configs',
    'mmcv/ops/nms.py': "a config's type",
    'mmcv/cnn/rfsearch/search.py': 'RFSearchHook',
    'mmdet/evaluation/functional/class_names.py': 'the name of a dataset',
    'mmdet/models/task_modules/tracking/camera_motion_compensation.py': 'its class',
    'mmpretrain/datasets/transforms/processing.py': 'dtype',
    'mmseg/utils/class_names.py': 'the name of a dataset',
}


@pytest.mark.parametrize(
    'library', ['mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg']
)
def test_libraries_evaluate_nothing_else(library):
    if find_spec(library) is None:
        pytest.skip(f'{library} is not installed')
    root = Path(find_spec(library).origin).parent
    files = set()
    for path in root.rglob('*.py'):
        text = path.read_text()
        if '.mim' in path.parts or not re.search(r'(?<![.\w])(eval|exec)\(', text):
            continue
        calls = (
            node.func.id
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        )
        if {'eval', 'exec'} & set(calls):
            files.add(path.relative_to(root.parent).as_posix())
    assert files <= EVALUATED.keys()
