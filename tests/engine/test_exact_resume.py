"""A run that is stopped and resumed gives the weights of one that never stopped."""

import json
import sys
from pathlib import Path

import pytest
import torch

from lightvit_mm.engine.exact_resume import ExactResumeHook

from ..processes import check, free_port
from ..toy import make_runner
from .short_runs import (
    TASKS,
    WORKERS,
    DrawNumbers,
    differences,
    resume_everywhere,
    run_config,
    train,
    write_data,
)

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_data(root)
    return root


pytestmark = pytest.mark.usefixtures('one_thread')


# An epoch has 5 iterations, so that iter_3 and iter_6 lie within epochs. epoch_1 is
# saved as that of by_epoch=True, iter_5 in the same place as that of by_epoch=False.
@pytest.mark.parametrize(
    ('settings', 'stops'),
    [
        (dict(task='classifier', workers='workers'), ['iter_3', 'epoch_1', 'iter_5']),
        (dict(task='classifier', loop='iterations', seed=None), ['iter_6']),
        (dict(task='detector'), ['iter_3']),
        (
            dict(
                task='segmentor',
                loop='iterations',
                workers='persistent',
                sampler='InfiniteSampler',
            ),
            ['iter_3'],
        ),
    ],
    ids=['classifier', 'classifier_iterations', 'detector', 'segmentor'],
)
def test_a_resumed_run_gives_the_same_weights(settings, stops, data, tmp_path):
    interval = 1 if 'iter_5' in stops else 3
    cfg = run_config(data, interval=interval, **settings)
    assert resume_everywhere(cfg, tmp_path, stops) == {stop: [] for stop in stops}


def resume_two_processes(cfg, folder, stops):
    """The differences of the first process, and the records of both."""
    cfg.dump(folder / 'config.py')
    check(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
            *('--master_port', free_port(), '-m', 'tests.engine.short_runs'),
            *(folder / 'config.py', folder),
            *(['--stops', *stops] if stops else []),
        ],
        ROOT,
    )
    records = [
        torch.load(folder / f'uninterrupted/record_{rank}.pt', weights_only=False)
        for rank in range(2)
    ]
    return json.loads((folder / 'differences.json').read_text()), records


@pytest.mark.slow
def test_two_processes_resume_and_draw_different_numbers(data, tmp_path):
    cfg = run_config(data, 'classifier', interval=2)
    result, records = resume_two_processes(cfg, tmp_path, ['iter_2'])
    assert result == {'iter_2': []}
    assert_all_differ(numbers(records[0]) + numbers(records[1]))


def numbers(record):
    """All numbers that were drawn, those for images with the image."""
    steps = [number for iteration in record for number in iteration['step']]
    images = [number for i in record for sample in i['load'] for number in sample]
    return steps + images


def assert_all_differ(values):
    assert len(set(values)) == len(values) > 50


def three_epochs(data, folder, workers, **settings):
    cfg = run_config(data, 'classifier', workers=workers, interval=100, **settings)
    cfg.train_cfg.max_epochs = 3
    content = train(cfg, folder)
    return content, torch.load(folder / 'record_0.pt', weights_only=False)


@pytest.mark.parametrize('workers', ['workers', 'persistent'])
def test_no_epoch_repeats_random_numbers_and_workers_change_nothing(
    workers, data, tmp_path
):
    expected, plain = three_epochs(data, tmp_path / 'plain', 'no_workers')
    content, record = three_epochs(data, tmp_path / 'workers', workers)
    assert_all_differ(numbers(record))
    for name in map(str, range(9)):
        views = [i['images'][name] for i in record if name in i['images']]
        assert len(views) == 3
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not views[one].equal(views[other])

    assert numbers(record) == numbers(plain)
    assert differences(content, expected) == []


def test_runs_differ_by_their_seeds(data, tmp_path):
    records = [
        three_epochs(data, tmp_path / str(seed), 'no_workers', seed=seed)[1]
        for seed in (3, 4)
    ]
    assert_all_differ(numbers(records[0]) + numbers(records[1]))


@pytest.mark.parametrize(
    ('loop', 'sampler'),
    [
        ('epochs', 'DefaultSampler'),
        ('iterations', 'DefaultSampler'),
        ('iterations', 'InfiniteSampler'),
    ],
)
def test_a_resumed_run_loads_and_logs_what_is_left(loop, sampler, data, tmp_path):
    cfg = run_config(data, 'classifier', loop, sampler=sampler, interval=3)
    train(cfg, tmp_path / 'first')
    DrawNumbers.num_calls = 0
    train(cfg, tmp_path / 'second', tmp_path / 'first/iter_9.pth')
    # The last of five batches has one image; InfiniteSampler never ends.
    assert DrawNumbers.num_calls == (2 if sampler == 'InfiniteSampler' else 1)
    log = next(tmp_path.glob('second/*/*.log')).read_text()
    shown = '[2][5/5]' if loop == 'epochs' else '[10/10]'
    assert [
        line.split('(train) ')[1].split()[0]
        for line in log.splitlines()
        if '(train) ' in line
    ] == [shown]


@pytest.fixture
def warnings_of(tmp_path, caplog):
    """Resumes a short run from what is given, and returns the warnings."""

    def run(resume_from=None, batch_size=2):
        runner = make_runner(
            tmp_path, max_epochs=3, resume=bool(resume_from), load_from=resume_from
        )
        runner._train_dataloader.update(batch_size=batch_size)
        runner.register_hook(ExactResumeHook())
        runner.logger.addHandler(caplog.handler)
        runner.train()
        return caplog.text

    run()
    caplog.clear()
    return run


def test_another_batch_size_is_named(warnings_of, tmp_path):
    text = warnings_of(str(tmp_path / 'epoch_1.pth'), batch_size=3)
    assert 'The run is resumed with batch_size=3 (was 2). It continues' in text


def test_a_missing_state_of_the_optimizer_is_named(warnings_of, tmp_path):
    (best,) = tmp_path.glob('best_*')
    assert 'no optimizer state' in warnings_of(str(best))


def test_a_usual_checkpoint_resumes_without_these_warnings(warnings_of, tmp_path):
    text = warnings_of(str(tmp_path / 'epoch_1.pth'))
    assert 'is resumed with' not in text and 'no optimizer' not in text


def test_a_training_set_without_a_batch_is_rejected(data, tmp_path):
    cfg = run_config(data, 'classifier', 'iterations')
    cfg.train_dataloader.update(batch_size=16, drop_last=True)
    with pytest.raises(ValueError, match='9 images .* no batch of 16'):
        train(cfg, tmp_path)


# The sampler that suits the loop; a finite one in a loop of iterations is tested
# with the classifier.
def suitable_sampler(task, loop):
    infinite = loop == 'iterations' and task != 'classifier'
    return 'InfiniteSampler' if infinite else 'DefaultSampler'


@pytest.mark.torture
@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('workers', WORKERS)
@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
@pytest.mark.parametrize('task', TASKS)
def test_it_does_everywhere(task, loop, workers, processes, data, tmp_path):
    cfg = run_config(data, task, loop, workers, suitable_sampler(task, loop))
    if processes == 2:
        result, _ = resume_two_processes(cfg, tmp_path, None)
    else:
        result = resume_everywhere(cfg, tmp_path)
    assert len(result) >= 5
    assert not any(result.values())


@pytest.mark.torture
@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize(
    ('sampler', 'randomness'),
    [
        ('DefaultSampler', dict(seed=None)),
        ('DefaultSampler', dict(seed=None, diff_rank_seed=True)),
        ('DefaultSampler', dict(seed=3, diff_rank_seed=True)),
        ('InfiniteSampler', dict(seed=None)),
        ('RepeatAugSampler', dict(seed=None)),
    ],
)
def test_it_does_with_other_seeds_and_samplers(
    sampler, randomness, processes, data, tmp_path
):
    loop = 'iterations' if sampler == 'InfiniteSampler' else 'epochs'
    cfg = run_config(data, 'classifier', loop, 'workers', sampler)
    cfg.randomness = randomness
    if processes == 2:
        result, _ = resume_two_processes(cfg, tmp_path, None)
    else:
        result = resume_everywhere(cfg, tmp_path)
    assert len(result) >= 3
    assert not any(result.values())
