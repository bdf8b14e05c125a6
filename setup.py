"""What pyproject.toml cannot express; everything else is there."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Adds the folder that OpenMMLab reads and the file that Python reads at start.

    OpenMMLab looks for configs and tools in .mim, as in its own packages.
    """

    def run(self) -> None:
        """Build, then copy those files."""
        if self.editable_mode:
            root = self.get_finalized_command('install').install_lib
        else:
            root = self.build_lib
            package = Path(root, 'lightvit_mm')
            # An earlier build may have left modules that no longer exist.
            shutil.rmtree(package, ignore_errors=True)
            super().run()
            for name in ('configs', 'tools'):
                ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]')
                shutil.copytree(name, package / '.mim' / name, ignore=ignore)
            shutil.copy('model-index.yml', package / '.mim')
        # The root of a wheel becomes site-packages under any Python version.
        shutil.copy('lightvit_mm/compat/lightvit_mm.pth', root)
        if self.editable_mode:
            # So that Python starts quietly if the repository moves.
            shutil.copy('lightvit_mm_finder.py', root)


setup(cmdclass={'build_py': BuildPy})
