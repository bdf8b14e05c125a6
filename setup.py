import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


def requirements(name: str) -> list:
    lines = (HERE / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


class BuildPy(build_py):
    """Adds configs and tools in .mim, where OpenMMLab looks for them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self.distribution.data_files = [(SITE_PACKAGES, [PTH])]
            self.run_command('install_data')
            return
        mim = Path(self.build_lib, 'lightvit_mm', '.mim')
        # An earlier build may have left files of other names.
        shutil.rmtree(mim, ignore_errors=True)
        for name in ('configs', 'tools'):
            shutil.copytree(
                HERE / name, mim / name, ignore=shutil.ignore_patterns('__pycache__')
            )
        shutil.copy(HERE / 'model-index.yml', mim)
        # The root of a wheel becomes the site-packages of any Python.
        shutil.copy(HERE / PTH, self.build_lib)


PTH = 'lightvit_mm/compat/lightvit_mm.pth'
# Where an editable install puts it.
SITE_PACKAGES = os.path.relpath(sysconfig.get_path('purelib'), sys.prefix)

version: dict = {}
exec((HERE / 'lightvit_mm' / 'version.py').read_text(), version)

setup(
    name='lightvit_mm',
    version=version['__version__'],
    description='LightViT as a backbone for OpenMMLab 2.x',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    cmdclass=dict(build_py=BuildPy),
    packages=find_packages(include=['lightvit_mm', 'lightvit_mm.*']),
    py_modules=['lightvit_mm_finder'],
    install_requires=requirements('runtime'),
    # OpenMMLab comes in several builds (mmcv, mmcv-lite, the maintained
    # fork); to install this package must never replace the one that is there.
    extras_require={
        'mim': requirements('mminstall'),
        'optional': requirements('optional'),
        'tests': requirements('tests'),
    },
)
