import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.register_assert_rewrite(f'{__package__}.models')

from .models import TOOL, save_each  # noqa: E402


@pytest.fixture(scope='package')
def trained(tmp_path_factory):
    """A folder with config.py and model.pth for each task."""
    return save_each(tmp_path_factory)


@pytest.fixture
def predict(trained, tmp_path, monkeypatch):
    """Run the tool in tmp_path, on one path or a list, and read what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(kind, paths, *options):
        folder = trained.get(kind, kind)
        args = (
            folder / 'config.py',
            folder / 'model.pth',
            *(paths if isinstance(paths, list) else [paths]),
            '--out',
            'out',
            *options,
        )
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')
        return json.loads(Path('out/predictions.json').read_text())

    return run


@pytest.fixture
def photos(tmp_path):
    """Three pictures, two of the same name."""
    random = np.random.RandomState(0)
    for name, size in {
        'photos/wide.JPG': (150, 83),
        'photos/a/one.png': (70, 130),
        'photos/b/one.png': (91, 90),
    }.items():
        coarse = random.randint(0, 256, (9, 9, 3), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
    return tmp_path / 'photos'
