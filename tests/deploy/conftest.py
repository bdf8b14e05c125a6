"""Fixtures of exported files and of the tools that write and run them."""

import importlib.util
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from lightvit_mm.deploy.export import export, onnx_to_openvino

from ..small import build
from .common import CONFIGS, RUN


@pytest.fixture(scope='session')
def run():
    """tools/deploy/run.py as a module."""
    spec = importlib.util.spec_from_file_location('run', RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Three pictures, wide, high and square."""
    folder = tmp_path_factory.mktemp('photos')
    random = np.random.RandomState(0)
    for name, (w, h) in dict(wide=(150, 83), high=(70, 130), square=(90, 90)).items():
        coarse = random.randint(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((w, h), Image.BICUBIC).save(
            folder / f'{name}.png'
        )
    return [folder / f'{name}.png' for name in ('wide', 'high', 'square')]


@pytest.fixture(scope='session')
def files(tmp_path_factory):
    """Each kind of model, with its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp('files')
    made = {}

    def make(kind):
        if kind not in made:
            cfg = CONFIGS[kind]()
            model = build(cfg)
            path = folder / f'{kind}.onnx'
            export(model, cfg, path)
            onnx_to_openvino(path, path.with_suffix('.xml'))
            made[kind] = cfg, model, path
        return made[kind]

    return make


@pytest.fixture
def tool(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(name, run_name='__main__')

    return call
