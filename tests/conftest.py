import os
import random
import runpy
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

# Without it, OpenVINO does not report its import to Intel.
sys.modules.setdefault('openvino_telemetry', None)
if torch.__version__ < '2.6':
    # Needed to read mmengine's training state; the tests trust their checkpoints.
    os.environ.setdefault('LIGHTVIT_MM_UNSAFE_LOAD', '1')

REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(REPOSITORY / 'tools'))

# Child processes read PYTHONPATH when they start; xdist's also load this file.
if 'OFFLINE_LOG' not in os.environ:
    offline = REPOSITORY / 'tests/offline'
    paths = filter(None, [str(offline), os.environ.get('PYTHONPATH')])
    os.environ['PYTHONPATH'] = os.pathsep.join(paths)
    runpy.run_path(str(offline / 'sitecustomize.py'))
ATTEMPTS = tempfile.NamedTemporaryFile('r+')  # noqa: SIM115
os.environ['OFFLINE_LOG'] = ATTEMPTS.name
# Child processes that a test kills leave files in it.
LEFTOVERS = tempfile.TemporaryDirectory()
os.environ['TMPDIR'] = LEFTOVERS.name


@pytest.fixture(autouse=True)
def no_network():
    """Fails tests that try to reach other machines, even in a child process."""
    yield
    ATTEMPTS.seek(0)
    attempts = ATTEMPTS.read()
    if attempts:
        ATTEMPTS.truncate(0)
        pytest.fail(f'The test tried to reach other machines:\n{attempts}')


@pytest.fixture(autouse=True)
def seed():
    """Makes random weights and images the same in every run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def digits(tmp_path_factory):
    """The datasets of the demo, with fewer and smaller scenes."""
    from digit_scenes import write_datasets

    root = tmp_path_factory.mktemp('digits')
    # With the seed 1, train has every digit of val.
    write_datasets(
        root / 'data', num_train=8, num_val=4, scene_size=96, crop_size=28, seed=1
    )
    return root / 'data'


@pytest.fixture
def one_thread():
    """On busy cores, threads spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def new_run(monkeypatch):
    """A process has one run, and so one log file and one visualizer."""
    from mmengine.logging import MMLogger
    from mmengine.visualization import Visualizer

    for manager in (MMLogger, Visualizer):
        monkeypatch.setattr(manager, '_instance_dict', OrderedDict())


@pytest.fixture
def log(caplog):
    """What mmengine logs."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
