"""FSDP trains as DDP does, in two processes on a CPU."""

import sys
from pathlib import Path

import pytest
import torch

from ..processes import check, free_port
from .short_runs import differences_of_training, write_data

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]

# Of the change of all weights; rounding leaves a part of 4e-8.
TOLERANCE = 1e-6


def runs_of(task, folder):
    """The last checkpoint of each run of sharded_runs, and the initial weights."""
    write_data(folder)
    check(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
            *('--master_port', free_port(), '-m', 'tests.engine.sharded_runs'),
            *(task, folder, folder),
        ],
        ROOT,
    )
    paths = {path.parent.name: path for path in folder.glob('*/iter_4.pth')}
    paths['initial'] = folder / 'initial_0.pth'
    return {name: torch.load(p, weights_only=False) for name, p in paths.items()}


def distance(one, other):
    """Euclidean distance of all weights and statistics."""
    one, other = one['state_dict'], other['state_dict']
    assert one.keys() == other.keys()
    squares = [(one[k].double() - other[k].double()).square().sum() for k in one]
    return sum(squares).sqrt().item()


def deviation(runs, name):
    return distance(runs[name], runs['ddp']) / distance(runs['ddp'], runs['initial'])


@pytest.fixture(
    scope='module',
    params=[
        'classifier',
        pytest.param('detector', marks=pytest.mark.torture),
        pytest.param('segmentor', marks=pytest.mark.torture),
    ],
)
def runs(request, tmp_path_factory):
    return runs_of(request.param, tmp_path_factory.mktemp('sharded'))


def test_weights_equal_those_of_ddp(runs):
    assert deviation(runs, 'fsdp') < TOLERANCE


@pytest.mark.parametrize('wrong', ['clip_each_part', 'decay_each_part'])
def test_wrong_strategies_are_outside_the_tolerance(runs, wrong):
    assert deviation(runs, wrong) > 1000 * TOLERANCE


def test_a_resumed_run_gives_the_same_weights(runs):
    assert runs['resumed']['state_dict'].keys()
