"""Reports what is installed, whether it works together and how to fix it.

    python -m lightvit_mm.check_env

The exit status is 1 if a check fails. This module imports only the standard
library, so that it can also report that a library is missing.
"""

import inspect
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PIP = 'python -m pip'
_INDENT = 13

# The versions of the default stack, for modules that are missing or do not fit.
TESTED = dict(
    torch='torch==2.11.0 torchvision==0.26.0',
    torchvision='torch==2.11.0 torchvision==0.26.0',
    cv2='opencv-python==4.12.0.88',
    mmengine='mmengine==0.10.7',
    mmcv='mmcv-lite==2.1.0',
    mmpretrain='mmpretrain==1.2.0',
    mmdet='mmdet==3.3.0',
    mmseg='mmsegmentation==1.2.2',
)
# The same for the fork, whose distributions have this prefix.
FORK = 'onedl-'
FORK_MMCV = 'onedl-mmcv==2.3.6'


def distributions(module: str) -> dict[str, str]:
    """Versions of the distributions that contain a module, by name."""
    found = {}
    for distribution in metadata.distributions():
        declared = (distribution.read_text('top_level.txt') or '').split()
        files = (distribution.read_text('RECORD') or '').splitlines()
        if module in declared or any(
            line.startswith(f'{module}/__init__.py,') for line in files
        ):
            # Python imports the first one.
            found.setdefault(distribution.metadata['Name'], distribution.version)
    return found


# Checks. Each returns a note for the report and raises an exception if it fails.


def _numpy() -> str:
    import numpy  # noqa: F401

    return ''


def _torch() -> str:
    import torch

    torch.zeros(1).numpy()
    count = torch.cuda.device_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(count)]
    return (
        f'CUDA {torch.version.cuda or "none"}, '
        f'{", ".join(gpus) or "no GPU that PyTorch can use"}'
    )


def _torchvision() -> str:
    import torch
    import torchvision

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return 'its operators work'


def _cv2() -> str:
    import cv2  # noqa: F401

    return ''


def _start_up() -> str:
    # In a new process, because importing the package has loaded the finder here.
    code = 'import sys; print("lightvit_mm_finder" in sys.modules)'
    out = subprocess.check_output([sys.executable, '-c', code], text=True)
    if out.strip() != 'True':
        raise RuntimeError(
            'lightvit_mm.pth was not read when Python started, so libraries do '
            "not find the operators that replace mmcv's"
        )
    if 'LIGHTVIT_MM_NO_FINDER' in os.environ:
        return f'{_PACKAGE}, finder disabled by LIGHTVIT_MM_NO_FINDER'
    return f'{_PACKAGE}, finder loaded when Python starts'


def _mmengine() -> str:
    import mmengine

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # pkg_resources is deprecated
        mmengine.utils.is_installed('numpy')
    return ''


def _mmcv() -> str:
    import mmcv._ext as ext

    if not ext.__file__.endswith('mmcv_ext.py'):
        return f'with compiled operators, in {Path(ext.__file__).name}'
    operators = {
        re.sub('_(for|back)ward.*', '', name)
        for name, function in inspect.getmembers(ext, inspect.isfunction)
        if function.__module__ == ext.__name__ and not name.startswith(('_', 'get_'))
    }
    return (
        "with torchvision's operators by lightvit_mm.compat.mmcv_ext "
        f'({", ".join(sorted(operators))}); others raise an error'
    )


def _library(name: str) -> str:
    if find_spec(name) is None:
        return 'not installed (optional)'
    models = import_module(f'{name}.registry').MODELS
    models.build(dict(type='lightvit_mm.LightViT', arch='tiny'))
    return 'builds lightvit_mm.LightViT'


def _forward() -> str:
    import torch

    from .models import LightViT

    images = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        maps = LightViT('tiny').eval()(images)
    shapes = [str(tuple(tensor.shape)) for tensor in (images, *maps)]
    return f'{shapes[0]} -> {", ".join(shapes[1:])}'


CHECKS: Sequence[tuple[str, Callable[[], str]]] = (
    ('numpy', _numpy),
    ('torch', _torch),
    ('torchvision', _torchvision),
    ('cv2', _cv2),
    ('lightvit_mm', _start_up),
    ('mmengine', _mmengine),
    ('mmcv', _mmcv),
    ('mmpretrain', lambda: _library('mmpretrain')),
    ('mmdet', lambda: _library('mmdet')),
    ('mmseg', lambda: _library('mmseg')),
    ('LightViT-T', _forward),
)

# Fixes


def _reinstall() -> str:
    """Reinstall this package from its repository or from its original source."""
    if 'LIGHTVIT_MM_NO_FINDER' in os.environ:
        return 'unset LIGHTVIT_MM_NO_FINDER'
    source = _PACKAGE.name
    if (_PACKAGE.parent / 'setup.py').is_file():
        source = str(_PACKAGE.parent)
    elif distributions(source):
        # pip stores the address there, unless it was an index.
        text = metadata.distribution(source).read_text('direct_url.json')
        source = json.loads(text)['url'] if text else source
    return f'{_PIP} install --force-reinstall --no-deps {shlex.quote(source)}'


def _replace_numpy() -> str:
    opencv = [f'"{name}<4.12"' for name in sorted(distributions('cv2'))]
    return ' '.join([f'{_PIP} install "numpy<2"', *opencv])


def _replace_opencv() -> str:
    version = distributions('cv2').get('opencv-python', '4.12.0.88')
    # opencv-python stays listed as installed, because mmcv requires it.
    return (
        f'{_PIP} install --force-reinstall --no-deps opencv-python-headless=={version}'
    )


def _replace_torchvision() -> str:
    version = metadata.version('torch')
    build = version.partition('+')[2]  # '' if it is from PyPI
    index = f' --index-url https://download.pytorch.org/whl/{build}'
    # Without uninstalling, pip would keep the same version for another CUDA.
    return (
        f'{_PIP} uninstall -y torchvision && {_PIP} install '
        f'torch=={version} torchvision{index if build else ""}'
    )


def _replace_mmcv() -> str:
    if any(name.startswith(FORK) for name in distributions('mmengine')):
        return f'{_PIP} install {FORK_MMCV}'
    # mmcv and mmcv-lite install into the same folder and may be mixed there.
    install = f'{_PIP} install --force-reinstall --no-deps {TESTED["mmcv"]}'
    old = sorted(set(distributions('mmcv')) - {'mmcv-lite'})
    if old:
        return f'{_PIP} uninstall -y {" ".join(old)} && {install}'
    return install


# Fixes by a pattern in "TYPE NAME: MESSAGE" of an error. NAME is the module that
# was being imported, without its package if it is a compiled one. The first
# match counts.
FIXES: Sequence[tuple[str, Callable[[], str]]] = (
    (r"No module named 'mmcv\._ext'|lightvit_mm\.pth", _reinstall),
    (r"No module named 'pkg_resources'", lambda: f'{_PIP} install "setuptools<82"'),
    (
        r'Numpy is not available|numpy\.core\.multiarray failed|_ARRAY_API',
        _replace_numpy,
    ),
    (r'^ImportError cv2: lib', _replace_opencv),
    (
        r"torchvision::|'torchvision' has no|custom C\+\+ ops|torchvision were",
        _replace_torchvision,
    ),
    (r'^ImportError _ext: |^ModuleNotFoundError mmcv: ', _replace_mmcv),
    (r'MMCV==(?!2\.1\.)\S+ is used but', _replace_mmcv),
    (r'MMEngine==\S+ is used but', lambda: f'{_PIP} install {TESTED["mmengine"]}'),
)


def fix(check: str, error: Exception) -> str:
    """The command that fixes an error, or a text if none is known.

    Args:
        check: Name of a check in :data:`CHECKS`.
        error: The exception that it raised.
    """
    module = getattr(error, 'name', None)
    text = f'{type(error).__name__} {module}: {error}'
    for pattern, command in FIXES:
        if re.search(pattern, text):
            return command()
    if isinstance(error, ModuleNotFoundError) and module:
        package = module.partition('.')[0]
        return f'{_PIP} install {TESTED.get(package, package)}'
    if isinstance(error, AssertionError) and check in TESTED:
        # The tested mmcv is installed, so the library is too old.
        return f'{_PIP} install {TESTED[check]}'
    return 'no known fix; resolve the error above and run this again'


def main() -> int:
    """Print the report and return the exit status."""
    print(f'{"Python":{_INDENT}}{platform.python_version()}, {sys.executable}')
    failed = 0
    for name, check in CHECKS:
        notes = [' '.join(item) for item in sorted(distributions(name).items())]
        lines = []
        try:
            notes.append(check())
        # A broken library can raise any exception, and the report shows it.
        except Exception as error:
            failed += 1
            notes.append('FAILED')
            lines.append(f'{type(error).__name__}: {" ".join(str(error).split())}')
            lines.append(f'fix: {fix(name, error)}')
        lines.insert(0, ', '.join(filter(None, notes)))
        print(f'{name:{_INDENT}}' + f'\n{"":{_INDENT}}'.join(lines))
    print(
        f'\n{failed} of {len(CHECKS)} checks failed.'
        if failed
        else '\nEverything works together.'
    )
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
