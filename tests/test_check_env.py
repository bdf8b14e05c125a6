"""The check of the environment: its report and the fix for each failure."""

import inspect
import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from lightvit_mm import check_env

mmcv = pytest.importorskip('mmcv')
mmengine = pytest.importorskip('mmengine')

ROOT = Path(__file__).parents[1]
STACKS = ROOT / 'requirements/stacks'
LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg')
MODULES = ('numpy', 'torch', 'torchvision', 'cv2', 'mmengine', 'mmcv', *LIBRARIES)
MMCV = 'pip install (--force-reinstall --no-deps mmcv-lite==2.1.0|onedl-mmcv==2.3.6)$'


needs_pkg_resources = pytest.mark.skipif(
    'pkg_resources' not in inspect.getsource(mmengine.utils.is_installed),
    reason='this mmengine does not import pkg_resources',
)


def run(folder, *options):
    """Run the command in a new process; modules in `folder` come first."""
    path = f'{folder}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    return subprocess.run(
        [sys.executable, *options, '-m', 'lightvit_mm.check_env'],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


def rows(out):
    """The lines of each check, by its name."""
    parts = re.split(r'^(\S+) {2,}', out.partition('\n\n')[0], flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def test_a_healthy_environment(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith('\nEverything works together.\n')
    said = rows(done.stdout)
    assert said['Python'].startswith(sys.version.split()[0])

    owners = {module: set() for module in MODULES}
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.name == '__init__.py' and str(file.parent) in owners:
                owners[str(file.parent)].add(distribution.metadata['Name'])
    for module in MODULES:
        for owner in owners[module]:
            assert f'{owner} {metadata.version(owner)}' in said[module]
        missing = not owners[module]
        assert missing == ('not installed' in said[module])
        if module in LIBRARIES and not missing:
            assert 'builds lightvit_mm.LightViT' in said[module]

    import mmcv._ext as ext

    for operator in ('nms', 'softnms', 'roi_align', 'modulated_deform_conv'):
        substituted = 'lightvit_mm.compat.mmcv_ext' in said['mmcv']
        assert substituted == ext.__file__.endswith('mmcv_ext.py')
        assert substituted == bool(re.search(rf'\W{operator}\W', said['mmcv']))
    assert said['LightViT-T'].strip() == (
        '(1, 3, 224, 224) -> (1, 64, 28, 28), (1, 128, 14, 14), (1, 256, 7, 7)'
    )


def test_a_missing_mmcv_is_a_line_of_the_report(tmp_path):
    """It is not an error when this package is imported."""
    (tmp_path / 'mmcv.py').write_text(
        'raise ModuleNotFoundError("No module named \'mmcv\'", name="mmcv")'
    )
    done = run(tmp_path)
    assert done.returncode == 1 and not done.stderr.startswith('Traceback')
    said = rows(done.stdout)
    assert said['torch'].count('\n') == 1
    for name in ('mmcv', 'LightViT-T'):
        assert "ModuleNotFoundError: No module named 'mmcv'" in said[name]
        assert re.search(MMCV, said[name].strip())


# Failures, one per check


class Raise(MetaPathFinder):
    """Makes one import fail."""

    def __init__(self, name, error):
        self.name, self.error = name, error

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise self.error


@pytest.fixture
def report(monkeypatch, capsys):
    """Run a single check: the exit status and its lines."""

    def call(name):
        checks = [check for check in check_env.CHECKS if check[0] == name]
        monkeypatch.setattr(check_env, 'CHECKS', checks)
        status = check_env.main()
        return status, rows(capsys.readouterr().out)[name].strip()

    return call


def forget(monkeypatch, module):
    """Make Python import a module again, until the test ends."""
    monkeypatch.setitem(sys.modules, module, None)
    del sys.modules[module]


@pytest.mark.parametrize(
    'check, module, error, command',
    [
        (
            'torch',
            'torch',
            ModuleNotFoundError("No module named 'torch'"),
            r'pip install torch==\S+ torchvision==\S+$',
        ),
        (
            'cv2',
            'cv2',
            ImportError('libGL.so.1: cannot open shared object file'),
            r'--force-reinstall --no-deps opencv-python-headless==[\d.]+$',
        ),
        (
            'cv2',
            'cv2',
            ImportError('numpy.core.multiarray failed to import'),
            r'pip install "numpy<2" "opencv-python\S*<4.12"',
        ),
        (
            'torchvision',
            'torchvision',
            RuntimeError('operator torchvision::nms does not exist'),
            r'uninstall -y torchvision && \S+ -m pip install torch==\S+ torchvision',
        ),
        (
            'torchvision',
            'torchvision',
            AttributeError(
                "partially initialized module 'torchvision' has no "
                "attribute 'extension'"
            ),
            r'uninstall -y torchvision && \S+ -m pip install torch==\S+ torchvision',
        ),
        (
            'mmcv',
            'mmcv._ext',
            ImportError('/mmcv/_ext.cpython-311.so: undefined symbol: _ZNK3c10'),
            MMCV,
        ),
        (
            'mmcv',
            'mmcv._ext',
            ModuleNotFoundError("No module named 'mmcv._ext'"),
            r'pip install --force-reinstall --no-deps \S+$',
        ),
        pytest.param(
            'mmengine',
            'pkg_resources',
            ModuleNotFoundError("No module named 'pkg_resources'"),
            r'pip install "setuptools<82"$',
            marks=needs_pkg_resources,
        ),
        (
            'mmengine',
            'mmengine',
            ModuleNotFoundError("No module named 'yapf'"),
            r'pip install yapf$',
        ),
        ('numpy', 'numpy', SystemError('something new'), 'fix: no known fix;'),
    ],
)
def test_a_failed_import_has_its_fix(
    report, monkeypatch, check, module, error, command
):
    if isinstance(error, ImportError):
        quoted = re.search("named '(.*)'", str(error))
        # Like the loader of compiled modules, which omits their package.
        error.name = quoted[1] if quoted else module.rpartition('.')[2]
    forget(monkeypatch, module)
    monkeypatch.setattr(sys, 'meta_path', [Raise(module, error), *sys.meta_path])
    status, said = report(check)
    assert status == 1
    assert f'FAILED\n{"":13}{type(error).__name__}: {error}\n' in said
    assert re.search(command, said), said


def test_a_numpy_that_is_too_new_for_pytorch_is_replaced(report, monkeypatch):
    import torch

    def numpy(self):
        raise RuntimeError('Numpy is not available')

    monkeypatch.setattr(torch.Tensor, 'numpy', numpy)
    status, said = report('torch')
    assert status == 1
    assert f'torch {metadata.version("torch")}, FAILED' in said
    assert 'pip install "numpy<2" "opencv-python<4.12"' in said


@pytest.mark.parametrize(
    'version, index',
    [
        ('2.6.0', ''),
        ('2.6.0+cu124', ' --index-url https://download.pytorch.org/whl/cu124'),
    ],
)
def test_torchvision_comes_from_the_index_of_pytorch(
    report, monkeypatch, version, index
):
    import torchvision

    def nms(*args):
        raise RuntimeError("Couldn't load custom C++ ops.")

    monkeypatch.setattr(torchvision.ops, 'nms', nms)
    monkeypatch.setattr(metadata, 'version', lambda name: version)
    status, said = report('torchvision')
    assert status == 1
    assert said.endswith(f' install torch=={version} torchvision{index}')


@pytest.mark.parametrize('library', LIBRARIES)
def test_an_mmcv_outside_the_range_of_a_library_is_replaced(
    report, monkeypatch, library
):
    source = Path(pytest.importorskip(library).__file__).read_text()
    if 'is used but incompatible' not in source:
        pytest.skip(f'this {library} takes any mmcv')
    for module in (library, f'{library}.registry'):
        forget(monkeypatch, module)
    monkeypatch.setattr(mmcv, '__version__', '9.0.0')
    status, said = report(library)
    assert status == 1
    assert 'AssertionError: MMCV==9.0.0 is used but incompatible' in said
    assert re.search(MMCV, said), said


def test_a_library_that_is_too_old_for_mmcv_is_replaced(report, monkeypatch):
    """As mmdet 3.1: the library is replaced, not mmcv."""
    pytest.importorskip('mmdet')
    for module in ('mmdet', 'mmdet.registry'):
        forget(monkeypatch, module)
    error = AssertionError(
        'MMCV==2.1.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.1.0.'
    )
    monkeypatch.setattr(sys, 'meta_path', [Raise('mmdet', error), *sys.meta_path])
    status, said = report('mmdet')
    assert status == 1
    assert re.search(r'pip install mmdet==[\d.]+$', said), said


def test_a_start_up_file_that_is_not_read_is_reinstalled(report, monkeypatch, tmp_path):
    python = tmp_path / 'python'
    # -S: without the .pth files.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(python))
    status, said = report('lightvit_mm')
    assert status == 1
    assert 'lightvit_mm.pth was not read' in said
    assert said.endswith(f'--force-reinstall --no-deps {ROOT}')


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_library_that_is_not_installed_is_optional(report, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(check_env, 'distributions', lambda module: {})
    assert report(library) == (0, 'not installed (optional)')


def test_a_disabled_finder_is_reported(report, monkeypatch):
    monkeypatch.setenv('LIGHTVIT_MM_NO_FINDER', '1')
    status, said = report('lightvit_mm')
    assert status == 0 and said.endswith('disabled by LIGHTVIT_MM_NO_FINDER')
    error = ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')
    assert check_env.fix('mmcv', error) == 'unset LIGHTVIT_MM_NO_FINDER'


def test_fixes_install_what_the_stacks_pin():
    for stack, versions in (
        ('openmmlab', check_env.TESTED.values()),
        ('onedl', [check_env.FORK_MMCV]),
    ):
        pins = ''.join(
            (STACKS / f'{name}.txt').read_text()
            for name in (stack, 'torch-2.11', 'current', 'common')
        )
        for requirement in ' '.join(versions).split():
            assert f'{requirement}\n' in pins
