from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list:
    lines = (HERE / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


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
    packages=find_packages(include=['lightvit_mm', 'lightvit_mm.*']),
    install_requires=requirements('runtime'),
    # OpenMMLab comes in several builds (mmcv, mmcv-lite, the maintained
    # fork); to install this package must never replace the one that is there.
    extras_require={
        'mim': requirements('mminstall'),
        'optional': requirements('optional'),
        'tests': requirements('tests'),
    })
