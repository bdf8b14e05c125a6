"""Configs that are parsed as data, and what they may name."""

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from lightvit_mm.config import read_config
from lightvit_mm.inert_config import EXECUTE, WRITES, check, parse, registered
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
    found = parse('a = dict(b=inf, c=-inf, d=nan)', PATH)['a']
    assert found['b'] == float('inf') == -found['c'] and found['d'] != found['d']
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
        'a = {[1]: 2}',
        'filename = 1',
        'text = 1',
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
        dict(
            model=dict(
                type='KnowledgeDistillationSingleStageDetector',
                teacher_config='digits/teacher.py',
            )
        ),
        dict(model=dict(type='mmpretrain.RAM', tag_list='tags.pickle')),
        dict(step=dict(backend_args=dict(backend='memcached', sys_path='evil'))),
        dict(hook=dict(type='mmdet.CameraMotionCompensation')),
    ],
    ids=str,
)
def test_names_that_lead_to_code_are_refused(settings):
    with pytest.raises(RefusedError, match='may carry code'):
        check(settings, PATH)


@pytest.mark.parametrize(
    'settings',
    [
        dict(val_evaluator=[dict(type='DumpDetResults', out_file_path='/any.pkl')]),
        dict(visualizer=dict(vis_backends=[dict(tracking_uri='http://host')])),
        dict(work_dir='/'),
    ],
    ids=str,
)
def test_places_to_write_to_are_refused(settings):
    with pytest.raises(RefusedError, match='says where to write'):
        check(settings, PATH)
    check(dict(metric=dict(outfile_prefix=None)), PATH)


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


# What executes code or unpickles in OpenMMLab

EXECUTING = re.compile(
    r'(eval|exec|__import__|import_module|run_path|create_model|read_pickle'
    r'|instantiate_from_config|Config\.fromfile|os\.(system|popen)|subprocess\.\w+'
    r'|sys\.path\.\w+|(pickle|torch|yaml|joblib|torch\.jit)\.loads?'
    r'|np\.load\(.*allow_pickle=True)\('
)
# Why a config cannot use it: by class, or by file for functions.
HARMLESS = {
    'BaseDataset': 'unpickles what it pickled itself',
    'BaseInferencer': 'no config builds it',
    'Config': 'reads configs',
    'EmbeddingEMA': 'only NormEMAVectorQuantizer builds it',
    'CIFAR10': 'compat.files.unpickle_with_mmengine',
    'DVCLiveVisBackend': 'a command of its own',
    'ModelHub': 'no config builds it',
    'MemcachedBackend': 'the key sys_path is refused',
    'OpenImagesChallengeDataset': 'compat.files.read_hierarchy_safely',
    'PickleHandler': 'compat.files.unpickle_safely',
    'Registry': 'names are checked',
    'RSInferencer': 'no config builds it',
    'YamlHandler': 'compat.files.read_yaml_safely',
    'ImageToTextRetrievalInferencer': 'no config builds it',
    'TextToImageRetrievalInferencer': 'no config builds it',
    'mmcv/ops/nms.py': 'the key type is checked',
    'mmcv/utils/ext_loader.py': 'a module of mmcv',
    'mmcv/utils/env.py': 'commands of its own',
    'mmcv/video/processing.py': 'no config calls it',
    'mmdet/evaluation/functional/class_names.py': 'the name of a dataset',
    'mmdet/evaluation/metrics/base_video_metric.py': 'unpickles what it pickled',
    'mmdet/utils/dist_utils.py': 'unpickles what it pickled itself',
    'mmdet/utils/misc.py': 'no config calls it',
    'mmengine/dist/dist.py': 'unpickles what it pickled itself',
    'mmengine/dist/utils.py': 'a command of its own',
    'mmengine/runner/checkpoint.py': 'compat.checkpoints.load_safely',
    'mmpretrain/datasets/transforms/processing.py': 'dtype is checked',
    'mmpretrain/models/multimodal/ram/gradio_demo.py': 'no config calls it',
    'mmpretrain/models/multimodal/ram/openset_utils.py': 'only RAMOpenset calls it',
    'mmseg/utils/class_names.py': 'the name of a dataset',
    'mmseg/utils/io.py': 'compat.files.unpickle_with_mmengine',
}
NO_CONFIG_CALLS = ('apis', 'config', 'hub', 'testing', 'utils')


def executing(library):
    """The classes, or files outside of classes, that execute code or unpickle."""
    root = Path(find_spec(library).origin).parent
    for path in root.rglob('*.py'):
        file = path.relative_to(root.parent)
        text = path.read_text()
        if '.mim' in file.parts or not EXECUTING.search(text):
            continue
        for node in ast.parse(text).body:
            calls = (n for n in ast.walk(node) if isinstance(n, ast.Call))
            if any(EXECUTING.match(ast.unparse(call)) for call in calls):
                is_class = isinstance(node, ast.ClassDef)
                yield node.name if is_class else file.as_posix()


@pytest.mark.parametrize(
    'library', ['mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg']
)
def test_nothing_else_executes_code(library):
    pytest.importorskip(library)
    found = {
        name
        for name in executing(library)
        # mmengine's own parts that read configs, and command-line helpers.
        if not name.startswith(tuple(f'mmengine/{part}' for part in NO_CONFIG_CALLS))
        and not name.startswith(tuple(f'{library}/{p}/' for p in ('apis', 'testing')))
    }
    assert found <= HARMLESS.keys() | set(EXECUTE)


@pytest.mark.parametrize('library', ['mmdet', 'mmengine', 'mmpretrain', 'mmseg'])
def test_users_of_what_executes_code_are_refused(library):
    """Subclasses, and classes that name it in their code."""
    pytest.importorskip(library)
    names = re.compile(rf'\b({"|".join(EXECUTE)})\(')
    found = set()
    for name, built in registered(library).items():
        if not inspect.isclass(built) or not built.__module__.startswith(library):
            continue
        # Reading the source of a class is slow.
        text = Path(inspect.getfile(built)).read_text()
        if names.search(text):
            text = re.sub(r'"""[\s\S]*?"""', '', inspect.getsource(built))
        is_user = names.search(text)
        if is_user or {base.__name__ for base in built.__mro__} & set(EXECUTE):
            found.add(name)
    assert found <= set(EXECUTE)


# Arguments that look as if they named a place to write to.
WRITING = re.compile(
    r'(.*_)?(out|outfile|output|save|dump|collect|result|trace|csv|work|tracking|tmp)_?'
    r'(.*_)?(dir|file|path|prefix|uri|tmpl)|file_path|filename_tmpl|init_kwargs'
)


@pytest.mark.parametrize('library', ['mmdet', 'mmengine', 'mmpretrain', 'mmseg'])
def test_all_places_to_write_to_are_known(library):
    pytest.importorskip(library)
    found = {
        argument
        for built in registered(library).values()
        if inspect.isclass(built) and built.__module__.startswith('mm')
        for base in built.__mro__[:-1]
        for argument in inspect.signature(base.__init__).parameters
    }
    assert {name for name in found if WRITING.fullmatch(name)} <= set(WRITES)
