"""The promises of the front door, each in a fresh process and a foreign folder."""

import subprocess
import sys
import textwrap

import pytest

import lightvit_mm


def run(code, folder):
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def check(code, folder):
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')


def test_importing_the_package_imports_no_library(tmp_path):
    out = check(
        f"""
        import sys
        import lightvit_mm
        print(lightvit_mm.__version__, *set({HEAVY!r}) & set(sys.modules))
        """,
        tmp_path,
    )
    assert out.strip() == lightvit_mm.__version__


@pytest.mark.parametrize(
    'name', ['LightViT', 'LightViTFPN', 'LightViTTokenNeck', 'BiDimensionalAttention']
)
def test_names_load_on_first_use(name, tmp_path):
    out = check(
        f"""
        import lightvit_mm
        assert {name!r} in dir(lightvit_mm)
        from lightvit_mm import {name}
        print({name}.__name__, lightvit_mm.{name} is {name})
        try:
            lightvit_mm.LightVit
        except AttributeError as error:
            print(error)
        """,
        tmp_path,
    )
    assert out.splitlines() == [
        f'{name} True',
        "module 'lightvit_mm' has no attribute 'LightVit'",
    ]


ORDERS = {
    'before': 'import lightvit_mm; import mmengine, mmpretrain, mmdet',
    'after': 'import mmengine, mmengine.runner, mmpretrain, mmdet; import lightvit_mm',
    'reload': 'import importlib, lightvit_mm, mmengine.runner, mmpretrain.apis; '
    'importlib.reload(mmengine.runner); importlib.reload(mmpretrain.apis)',
    'thread': 'import threading; t = threading.Thread(target=__import__, '
    'args=["mmengine.runner"]); t.start(); import lightvit_mm; t.join()',
    'by_scope': 'from mmdet.registry import MODELS; import mmpretrain; '
    'MODELS.get("lightvit_mm.LightViT")',
}


@pytest.mark.parametrize('order', ORDERS.values(), ids=ORDERS)
def test_every_name_is_known_whichever_is_imported_first(order, tmp_path):
    for library in ('mmdet', 'mmpretrain'):
        pytest.importorskip(library)
    (tmp_path / 'config.py').write_text(
        "_base_ = 'lightvit_mm::mask_rcnn_lightvit_s_1x.py'\n"
    )
    out = check(
        f"""
        {order}
        from mmengine.config import Config
        from mmengine.runner import CheckpointLoader
        from mmpretrain import get_model, list_models
        print('>', len(list_models('lightvit-*')))
        print('>', type(get_model('lightvit-tiny_8xb128_in1k').backbone).__name__)
        print('>', Config.fromfile('config.py').model.backbone.arch)
        try:
            CheckpointLoader.load_checkpoint('lightvit://huge', logger='silent')
        except ValueError as error:
            print('>', error)
        """,
        tmp_path,
    )
    # The libraries also print lines.
    lines = [x[2:] for x in out.splitlines() if x.startswith('> ')]
    assert lines[:3] == ['3', 'LightViT', 'small']
    assert lines[3].startswith("'lightvit://huge' should be one of")


@pytest.mark.parametrize('library', ['mmdet', 'mmpretrain', 'mmseg'])
def test_type_name_is_enough(library, tmp_path):
    pytest.importorskip(library)
    out = check(
        f"""
        from {library}.registry import MODELS
        import sys
        assert 'lightvit_mm' not in sys.modules
        backbone = MODELS.build(dict(type='lightvit_mm.LightViT', arch='tiny'))
        neck = MODELS.build(dict(
            type='lightvit_mm.LightViTFPN', in_channels=[64, 128, 256],
            out_channels=32))
        import torch
        print([tuple(o.shape) for o in neck(backbone(torch.rand(1, 3, 64, 64)))
               ][:2])
        """,
        tmp_path,
    )
    assert out.strip() == '[(1, 32, 16, 16), (1, 32, 8, 8)]'


@pytest.mark.parametrize('library', ['mmdet', 'mmpretrain', 'mmseg'])
def test_custom_imports_still_works(library, tmp_path):
    pytest.importorskip(library)
    (tmp_path / 'config.py').write_text(
        "custom_imports = dict(imports=['lightvit_mm'])\n"
        "backbone = dict(type='lightvit_mm.LightViT', arch='small')\n"
    )
    out = check(
        f"""
        from mmengine.config import Config
        from {library}.registry import MODELS
        print(type(MODELS.build(Config.fromfile('config.py').backbone)))
        """,
        tmp_path,
    )
    assert 'lightvit_mm.models.lightvit.LightViT' in out


def test_pure_python_config_names_the_class(tmp_path):
    (tmp_path / 'base.py').write_text(
        'from lightvit_mm import LightViT\n'
        'backbone = dict(type=LightViT, arch="small")\n'
    )
    (tmp_path / 'config.py').write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from .base import *\n'
        'backbone.update(arch="tiny")\n'
    )
    out = check(
        """
        from mmengine.config import Config
        from mmengine.registry import MODELS
        config = Config.fromfile('config.py')
        print(MODELS.build(config.backbone).embed_dims)
        config.dump('dumped.py')
        print(MODELS.build(Config.fromfile('dumped.py').backbone).embed_dims)
        """,
        tmp_path,
    )
    assert out.split('\n')[:2] == ['(64, 128, 256)'] * 2


BLOCK = """
    import sys

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.split('.')[0] in {blocked!r}:
                raise ModuleNotFoundError(f'{{name}} is blocked', name=name)

    sys.meta_path.insert(0, Block())
"""


def test_torch_mmengine_and_mmcv_are_enough(tmp_path):
    blocked = ('mmdet', 'mmpretrain', 'mmseg', 'torchvision', 'timm')
    out = check(
        textwrap.dedent(BLOCK).format(blocked=blocked)
        + textwrap.dedent("""
        import torch
        from lightvit_mm import LightViT, LightViTFPN
        backbone = LightViT('tiny')
        outs = LightViTFPN([64, 128, 256], 8)(backbone(torch.rand(1, 3, 9, 9)))
        print(len(outs))
        """),
        tmp_path,
    )
    assert out.strip() == '5'


@pytest.mark.parametrize(
    'present, absent',
    [
        ('mmdet', ('mmpretrain', 'mmseg')),
        ('mmpretrain', ('mmdet', 'mmseg')),
        ('mmseg', ('mmdet', 'mmpretrain')),
    ],
)
def test_each_library_is_optional(present, absent, tmp_path):
    pytest.importorskip(present)
    check(
        textwrap.dedent(BLOCK).format(blocked=absent)
        + textwrap.dedent(f"""
        from {present}.registry import MODELS
        MODELS.build(dict(type='lightvit_mm.LightViT'))
        """),
        tmp_path,
    )


def test_a_typing_error_in_a_config_is_explained(tmp_path):
    pytest.importorskip('mmdet')
    done = run(
        """
        from mmdet.registry import MODELS
        MODELS.build(dict(type='lightvit_mm.LightViT', archs='tiny'))
        """,
        tmp_path,
    )
    assert done.returncode
    assert (
        "LightViT has no argument 'archs' (close to it: arch); it takes arch,"
        in done.stderr
    )
