"""tools/slurm_train.sh, with a program in place of srun."""

from pathlib import Path

import pytest

from .processes import check, environment, run

ROOT = Path(__file__).parents[1]
# Bash executes it if it computes with it.
CODE = 'a[$(touch marker)]'
COMMAND = [ROOT / 'tools/slurm_train.sh', 'gpu', 'job', 'config.py']


@pytest.fixture
def path(tmp_path):
    """PATH with an srun that prints its arguments."""
    program = tmp_path / 'srun'
    program.write_text('#!/bin/sh\necho srun "$@"\n')
    program.chmod(0o755)
    return f'{tmp_path}:{environment()["PATH"]}'


@pytest.mark.parametrize(
    'variables, expected',
    [
        ({}, ['--gres=gpu:8', '--ntasks=8', '--ntasks-per-node=8']),
        (dict(GPUS='2'), ['--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2']),
        (dict(GPUS='16'), ['--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8']),
        (
            dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3'),
            ['--gres=gpu:4', '--ntasks=16', '--cpus-per-task=3'],
        ),
    ],
)
def test_slurm_gets_the_resources(tmp_path, path, variables, expected):
    words = check(COMMAND, tmp_path, PATH=path, **variables).split()
    assert words[0] == 'srun' and set(expected) <= set(words)


@pytest.mark.parametrize('name', ['GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK'])
@pytest.mark.parametrize(
    'value', ['0', '-1', '2.5', 'two', '2 3', 'a[$(touch marker)]']
)
def test_slurm_is_not_started_with_other_than_numbers(tmp_path, path, name, value):
    done = run(COMMAND, tmp_path, PATH=path, **{name: value})
    assert done.returncode == 2
    assert done.stdout == f"{name} should be a positive integer, got '{value}'.\n"
    assert not (tmp_path / 'marker').exists()
