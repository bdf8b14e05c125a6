"""The wheel and the source distribution, and the wheel under other Python versions.

Nothing is downloaded. Another Python needs no packages: this environment lends
it setuptools. Versions of Python are taken from PATH and from pyenv.
"""

import glob
import hashlib
import importlib.metadata
import os
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lightvit_mm.version import __version__

ROOT = Path(__file__).parents[1]
OWN = f'3.{sys.version_info[1]}'
PYTHONS = re.findall(r'Python :: (3\.\d+)"', (ROOT / 'pyproject.toml').read_text())
NAME = f'lightvit_mm-{__version__}'
SETUPTOOLS = importlib.metadata.distribution('setuptools')

pytestmark = pytest.mark.skipif(
    int(SETUPTOOLS.version.split('.')[0]) < 77,
    reason=f'the build needs setuptools 77, this stack has {SETUPTOOLS.version}',
)


def run(*command, folder, **variables):
    """The output; PYTHONPATH, which may name the repository, is not inherited."""
    env = {**os.environ, 'PYTHONPATH': '', **variables}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def find_python(version):
    """The interpreter of a minor version, or None."""
    if version == OWN:
        return sys.executable
    pyenv = os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')
    name = f'python{version}'
    for python in (
        shutil.which(name),
        *glob.glob(f'{pyenv}/versions/{version}.*/bin/{name}'),
    ):
        # What pyenv puts on PATH fails for versions that are not selected.
        if (
            python
            and not subprocess.run([python, '-c', ''], capture_output=True).returncode
        ):
            return python
    return None


def need_python(version):
    python = find_python(version)
    if python is None:
        pytest.skip(f'there is no Python {version} on PATH or in pyenv')
    return python


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the source with leftovers of earlier builds and runs."""
    folder = tmp_path_factory.mktemp('source') / 'lightvit_mm'
    ours = 'configs', 'lightvit_mm', 'requirements', 'tools', 'tests', 'docs'
    for name in ours:
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns('__pycache__', 'golden', '*.jpg', '*.png'),
        )
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    leftovers = {
        'build/lib/lightvit_mm/leftover.py': '',
        'build/lib/lightvit_mm/.mim/configs/leftover.py': '',
        'configs/__pycache__/leftover.pyc': '',
        'lightvit_mm/__pycache__/leftover.pyc': '',
        'tools/leftover.pyc': '',
        'work_dirs/leftover.py': '',
        'lightvit_mm.egg-info/SOURCES.txt': 'tests/test_docs.py\n'
        'lightvit_mm/__pycache__/leftover.pyc\nwork_dirs/leftover.py\n',
    }
    for name, text in leftovers.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    """Call setuptools under any Python. Returns the path of the new file."""
    # Only setuptools: other packages are compiled for this Python.
    library = tmp_path_factory.mktemp('setuptools')
    for name in {file.parts[0] for file in SETUPTOOLS.files}:
        path = Path(SETUPTOOLS.locate_file(name))
        if name.startswith(('setuptools', '_distutils_hack')) and path.is_dir():
            (library / name).symlink_to(path)

    def call(python, function, source):
        out = tmp_path_factory.mktemp(function)
        code = f'from setuptools import build_meta; build_meta.{function}({str(out)!r})'
        run(python, '-c', code, folder=source, PYTHONPATH=str(library))
        (file,) = out.iterdir()
        return file

    return call


@pytest.fixture(scope='module')
def sdist(source, backend):
    return backend(sys.executable, 'build_sdist', source)


@pytest.fixture(scope='module')
def wheel(source, backend):
    return backend(sys.executable, 'build_wheel', source)


def tree(*folders):
    """Files below these folders of the repository, without compiled ones."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and path.suffix != '.pyc'
    }


def test_wheel_has_what_it_needs_and_nothing_else(wheel):
    assert wheel.name == f'{NAME}-py3-none-any.whl'
    pth = 'lightvit_mm/compat/lightvit_mm.pth'
    info = f'{NAME}.dist-info'
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert names == {
            'lightvit_mm.pth',
            'lightvit_mm_finder.py',
            *(tree('lightvit_mm') - {pth}),
            'lightvit_mm/py.typed',
            'lightvit_mm/.mim/model-index.yml',
            *(f'lightvit_mm/.mim/{name}' for name in tree('configs', 'tools')),
            f'{info}/licenses/LICENSE',
            *(f'{info}/{name}' for name in ('METADATA', 'RECORD', 'WHEEL')),
            f'{info}/top_level.txt',
        }
        for name in names:
            if not name.startswith(info):
                path = ROOT / name.replace('/.mim/', '/../')
                path = ROOT / pth if name == 'lightvit_mm.pth' else path
                assert file.read(name) == path.resolve().read_bytes()
        assert 'Tag: py3-none-any\n' in file.read(f'{info}/WHEEL').decode()


def test_sdist_has_what_it_needs_and_nothing_else(sdist):
    assert sdist.name == f'{NAME}.tar.gz'
    with tarfile.open(sdist) as file:
        names = {
            member.name.removeprefix(f'{NAME}/')
            for member in file.getmembers()
            if member.isfile()
        }
    assert names == tree('lightvit_mm', 'configs', 'tools', 'requirements') | {
        'CHANGELOG.md',
        'CITATION.cff',
        'LICENSE',
        'MANIFEST.in',
        'PKG-INFO',
        'README.md',
        'lightvit_mm.egg-info/SOURCES.txt',
        'lightvit_mm_finder.py',
        'model-index.yml',
        'pyproject.toml',
        'setup.cfg',
        'setup.py',
    }


def contents(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_sdist_builds_the_same_wheel(sdist, wheel, backend, tmp_path):
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path)
    again = backend(sys.executable, 'build_wheel', tmp_path / NAME)
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


def test_metadata(wheel):
    data = contents(wheel)[f'{NAME}.dist-info/METADATA'].decode()
    metadata = Parser().parsestr(data)
    assert metadata['Name'] == 'lightvit_mm'
    assert metadata['Version'] == __version__
    assert metadata['Requires-Python'] == '>=3.10'
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Description-Content-Type'] == 'text/markdown'
    assert metadata.get_payload() == (ROOT / 'README.md').read_text()
    extras = ['app', 'hub', 'mim', 'optional', 'tests']
    assert metadata.get_all('Provides-Extra') == extras


def test_installing_never_replaces_openmmlab(wheel):
    """Its builds have several names; pip would install a second one."""
    data = contents(wheel)[f'{NAME}.dist-info/METADATA'].decode()
    requirements = Parser().parsestr(data).get_all('Requires-Dist')
    assert [line for line in requirements if 'extra ==' not in line] == [
        'filelock',
        'numpy',
        'torch>=2.1',
    ]
    assert 'setuptools<82; extra == "mim"' in requirements


# Start-up of Python

NOTHING = '-c', 'pass'


def start(python):
    """The milliseconds of CPU time in which Python starts."""
    process = os.posix_spawn(python, (python, *NOTHING), os.environ)
    usage = os.wait4(process, 0)[2]
    return 1e3 * (usage.ru_utime + usage.ru_stime)


@pytest.fixture
def plain_and_installed(wheel, tmp_path):
    """Two interpreters; the second one starts with lightvit_mm.pth."""
    plain = environment(sys.executable, wheel, tmp_path / 'plain')
    (pth,) = tmp_path.glob('plain/lib/python*/site-packages/lightvit_mm.pth')
    pth.unlink()
    return plain, environment(sys.executable, wheel, tmp_path / 'installed')


def test_start_up_imports_one_module(plain_and_installed, tmp_path):
    code = 'import sys; print(*sys.modules)'
    plain, ours = (
        set(run(python, '-c', code, folder=tmp_path).split())
        for python in plain_and_installed
    )
    # The codec in which Python 3.13 reads the first .pth file, whichever it is.
    assert ours - plain - {'encodings.utf_8_sig'} == {'lightvit_mm_finder'}


@pytest.mark.torture
def test_start_up_takes_at_most_3_ms(plain_and_installed):
    """Side by side, so that other work on this machine slows both down."""
    costs = [start(ours) - start(plain) for plain, ours in [plain_and_installed] * 200]
    print(f'lightvit_mm.pth: {statistics.median(costs):.2f} ms')
    assert statistics.median(costs) <= 3


def test_editable_installation_adds_a_path_and_no_import(source, backend):
    """The finder that setuptools can add instead takes 15 ms at each start."""
    files = contents(backend(sys.executable, 'build_editable', source))
    assert files[f'__editable__.{NAME}.pth'].decode().split() == [str(source)]
    assert not any('__editable__' in name for name in files if name.endswith('.py'))


# Other Python versions


def environment(python, wheel, folder, packages=()):
    """Install the wheel into a new environment. Returns its interpreter.

    Args:
        python: The interpreter that it is made with.
        wheel: The file that is installed.
        folder: Where it is made.
        packages: Folders of packages that it sees after the wheel. Start-up
            files in them are not read.
    """
    run(python, '-m', 'venv', '--without-pip', str(folder), folder=ROOT.parent)
    new = str(folder / 'bin/python')
    options = '--no-deps', '--no-index', '--quiet', '--no-compile'
    pip = sys.executable, '-m', 'pip', '--python', new
    run(*pip, 'install', *options, str(wheel), folder=folder)
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    site = Path(run(new, '-c', code, folder=folder).strip())
    (site / 'packages.pth').write_text(''.join(f'{path}\n' for path in packages))
    return new


@pytest.mark.parametrize('version', PYTHONS)
def test_wheel_installs_under_each_python(version, wheel, tmp_path):
    """It is light and is found when Python starts; no packages are needed."""
    python = environment(need_python(version), wheel, tmp_path / 'venv')
    code = """
import sys
print('%d.%d' % sys.version_info[:2])
print('lightvit_mm_finder' in sys.modules, 'lightvit_mm' in sys.modules)
import lightvit_mm, lightvit_mm_finder
print(lightvit_mm_finder.MmcvExtFinder in sys.meta_path)
print(lightvit_mm_finder.__file__)
print(lightvit_mm.__file__)
print(lightvit_mm.__version__)
"""
    site = tmp_path / f'venv/lib/python{version}/site-packages'
    assert run(python, '-c', code, folder=tmp_path).splitlines() == [
        version,
        'True False',
        'True',
        f'{site}/lightvit_mm_finder.py',
        f'{site}/lightvit_mm/__init__.py',
        __version__,
    ]
    assert (site / 'lightvit_mm.pth').is_file()


@pytest.mark.parametrize('version', PYTHONS)
def test_each_python_builds_the_same_wheel(version, source, backend, wheel):
    again = backend(need_python(version), 'build_wheel', source)
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@pytest.fixture(scope='module')
def installed(source, backend, tmp_path_factory):
    """This stack with a wheel that another Python has built."""
    others = [version for version in PYTHONS if version != OWN]
    pythons = list(filter(None, map(find_python, others)))
    if not pythons:
        pytest.skip(
            f'there is no other Python ({", ".join(others)}) on PATH or in pyenv'
        )
    wheel = backend(pythons[0], 'build_wheel', source)
    folder = tmp_path_factory.mktemp('installed') / 'venv'
    packages = [SETUPTOOLS.locate_file('')]
    return environment(sys.executable, wheel, folder, packages)


def test_wheel_of_another_python_builds_from_mmdets_registry(installed, tmp_path):
    pytest.importorskip('mmdet')
    code = """
import sys
from mmdet.registry import MODELS
assert 'lightvit_mm' not in sys.modules
model = MODELS.build(dict(type='lightvit_mm.LightViT', arch='tiny'))
print(sys.modules[type(model).__module__].__file__)
print(sum(parameter.numel() for parameter in model.parameters()))
"""
    file, parameters = run(installed, '-c', code, folder=tmp_path).splitlines()[-2:]
    site = Path(installed).parents[1] / f'lib/python{OWN}/site-packages'
    assert file == f'{site}/lightvit_mm/models/lightvit.py'
    assert round(int(parameters) / 1e6, 1) == 7.8


def test_wheel_of_another_python_carries_its_configs(installed, tmp_path):
    pytest.importorskip('mmpretrain')
    code = """
import lightvit_mm
from mmpretrain import get_model
print(get_model('lightvit-tiny_8xb128_in1k')._config.filename)
"""
    file = run(installed, '-c', code, folder=tmp_path).splitlines()[-1]
    site = Path(installed).parents[1] / f'lib/python{OWN}/site-packages'
    assert file == f'{site}/lightvit_mm/.mim/configs/lightvit_t_8xb128_in1k.py'


# Pinned packages


def read_pins(path):
    """The lines of a requirement file and the files that it includes."""
    for line in path.read_text().splitlines():
        requirement = line.partition('#')[0].strip()
        if requirement.startswith('-r '):
            yield from read_pins(path.parent / requirement[3:])
        elif requirement:
            yield Requirement(requirement)


def read_lock(name):
    """The requirements of a lock, with their hashes."""
    text = (ROOT / f'requirements/locks/{name}.txt').read_text()
    lines = re.sub(r'^#.*\n', '', text, flags=re.MULTILINE).replace('\\\n', ' ')
    for line in lines.splitlines():
        requirement, *hashes = line.split('--hash=')
        yield Requirement(requirement), [value.strip() for value in hashes]


def applies(requirement, python, system, platform):
    environment = dict(
        python_version=python,
        python_full_version=f'{python}.0',
        platform_system=system,
        sys_platform=platform,
    )
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize('stack', ['build', 'openmmlab', 'onedl', 'app'])
@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize(
    'system', [('Linux', 'linux'), ('Darwin', 'darwin'), ('Windows', 'win32')]
)
def test_locks_have_the_pins(stack, python, system):
    """After a change of the pins, `make locks` updates the locks."""
    pins = read_pins(ROOT / f'requirements/stacks/{stack}.txt')
    locked = (requirement for requirement, _ in read_lock(stack))
    pins, locked = (
        sorted(f'{x.name}{x.specifier}' for x in group if applies(x, python, *system))
        for group in (pins, locked)
    )
    assert locked == pins
    assert all(re.fullmatch(r'[\w-]+==[\w.]+', pin) for pin in pins)


@pytest.mark.parametrize('stack', ['build', 'openmmlab', 'onedl', 'app'])
def test_each_locked_package_has_hashes_and_no_address(stack):
    for requirement, hashes in read_lock(stack):
        assert hashes, requirement
        assert all(re.fullmatch('sha256:[0-9a-f]{64}', value) for value in hashes)
    assert '://' not in (ROOT / f'requirements/locks/{stack}.txt').read_text()


def test_pip_refuses_a_file_with_another_hash(wheel, tmp_path):
    (tmp_path / 'wheels').mkdir()
    shutil.copy(wheel, tmp_path / 'wheels')
    lock = tmp_path / 'lock.txt'
    pip = sys.executable, '-m', 'pip', 'download', '--no-deps', '--no-index'
    command = [*pip, '--find-links', 'wheels', '--require-hashes', '-r', lock]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for value, code in ((digest, 0), (digest[::-1], 1)):
        lock.write_text(f'lightvit_mm=={__version__} --hash=sha256:{value}\n')
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert 'DO NOT MATCH THE HASHES' in done.stderr


def test_make_checks_the_hashes_of_both_stacks():
    for stack in ('openmmlab', 'onedl'):
        command = ['make', '--dry-run', '--always-make', f'STACK={stack}', 'venv']
        installs = [
            line
            for line in run(*command, folder=ROOT).splitlines()
            if 'pip install' in line
        ]
        assert len(installs) == 3
        for line in installs:
            checked = '--require-hashes -r requirements/locks/' in line
            assert checked or line.endswith('--no-build-isolation --no-deps -e .')


def test_page_lists_the_license_of_each_pinned_package():
    """After a change of the pins, `make licenses` updates the page."""
    updated = runpy.run_path(str(ROOT / 'requirements/licenses.py'))['update']
    page = (ROOT / 'docs/licenses.md').read_text()
    assert updated(page) == page
    names = re.findall(r'^\| (\S+) \| \d[\w.]* \| \S', page, re.MULTILINE)
    pins = {
        requirement.name
        for stack in ('openmmlab', 'onedl', 'app')
        for requirement in read_pins(ROOT / f'requirements/stacks/{stack}.txt')
    }
    assert sorted(names) == sorted(pins)


# What else is published


def test_pre_commit_runs_the_pinned_ruff():
    pinned = re.search(
        r'^ruff==(.*)', (ROOT / 'requirements/lint.txt').read_text(), re.M
    )
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    assert f'rev: v{pinned[1]}\n' in hooks


def test_workflows_run_each_python_of_the_metadata():
    text = (ROOT / '.github/workflows/ci.yml').read_text()
    versions = re.search(r'python: \[(.*)\]', text)[1]
    assert re.findall(r"'(.*?)'", versions) == PYTHONS
    makefile = (ROOT / 'Makefile').read_text()
    assert f'PYTHONS := {" ".join(PYTHONS)}\n' in makefile


def test_changelog_and_citation_name_the_version():
    assert f'\n## {__version__}' in (ROOT / 'CHANGELOG.md').read_text()
    assert f'\nversion: {__version__}\n' in (ROOT / 'CITATION.cff').read_text()
