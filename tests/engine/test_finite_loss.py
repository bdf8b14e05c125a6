"""A run with a loss that is not finite stops, names its cause and saves no NaN."""

import math
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner.checkpoint import find_latest_checkpoint

from lightvit_mm.engine.distributed import distribute_on_cpu, leave_process_group
from lightvit_mm.engine.finite_loss import FiniteLossHook

from ..processes import check, free_port
from ..toy import make_runner
from .short_runs import TASKS, run_config, train, write_data

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures('one_thread')


@HOOKS.register_module()
class Spoil(Hook):
    """Makes something not finite in some iterations, which count from 1.

    Args:
        what: 'constant' adds a loss without gradient, which leaves the weights as
            they are, as a loss scaler does that skips an update. 'loss' spoils the
            loss with its gradient, 'gradient' only the gradient of a finite loss,
            and 'buffer' the statistics of BatchNorm.
        iterations: When.
        rank: In which process.
    """

    priority = 'VERY_HIGH'
    images = None  # those of each iteration of the latest run

    def __init__(self, what, iterations, rank=0):
        self.what, self.iterations, self.rank = what, iterations, rank
        Spoil.images = {}

    def before_run(self, runner):
        model = runner.model
        self.model = model.module if is_model_wrapper(model) else model
        # An infinite buffer may be intended.
        self.model.register_buffer('mask', torch.tensor(-math.inf))

    def before_train(self, runner):
        model = self.model
        parse_losses = model.parse_losses

        def parse_spoiled(losses):
            if self.is_now(runner):
                if self.what == 'constant':
                    losses['loss_spoiled'] = torch.tensor(math.inf)
                elif self.what == 'loss':
                    losses['loss_spoiled'] = self.weight.sum() * math.nan
            return parse_losses(losses)

        model.parse_losses = parse_spoiled
        self.weight = model.backbone.global_token
        self.weight.register_hook(
            lambda grad: (
                grad * math.nan
                if self.what == 'gradient' and self.is_now(runner)
                else grad
            )
        )
        self.buffers = dict(model.named_buffers())

    def is_now(self, runner):
        return runner.iter + 1 in self.iterations and runner.rank == self.rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        self.images[runner.iter + 1] = [sample.img_path for sample in samples]
        if self.what == 'buffer' and self.is_now(runner):
            self.buffers['backbone.patch_embed.stem.1.running_var'].fill_(math.nan)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_data(root)
    return root


def spoiled_config(data, spoil, task='classifier', interval=1, **hook):
    """Ten iterations, in two epochs."""
    cfg = run_config(data, task, interval=interval)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    cfg.custom_hooks = [
        dict(type='EMAHook', momentum=0.1),
        dict(type='Spoil', **spoil),
        dict(type='lightvit_mm.FiniteLossHook', **hook),
    ]
    return cfg


def stop(cfg, work_dir):
    """The error that stops the run, and the images of each iteration."""
    with pytest.raises(FloatingPointError) as error:
        train(cfg, work_dir)
    return str(error.value), Spoil.images


def all_finite(path):
    content = torch.load(path, weights_only=False)
    states = content['state_dict'], content['ema_state_dict']
    return all(
        value.isfinite().all()
        for state in states
        for name, value in state.items()
        if not name.endswith('mask')
    )


@pytest.mark.parametrize('task', TASKS)
def test_it_stops_after_some_in_a_row_and_names_the_cause(task, data, tmp_path):
    # Iteration 2 alone does not stop it. Iteration 5 is the last one of an epoch.
    spoil = dict(what='constant', iterations=[2, 4, 5, 6, 7])
    cfg = spoiled_config(data, spoil, task, interval=100, patience=3)
    error, images = stop(cfg, tmp_path)
    assert max(images) == 6
    assert 'loss_spoiled=inf in iteration 4 with the images' in error
    assert 'not finite in 3 iterations in a row' in error
    assert 'loss_cls=' not in error and 'acc' not in error
    assert set(images[4] + images[3]) == paths_in(error, data)
    log = next(tmp_path.glob('*/*.log')).read_text()
    warnings = [line for line in log.splitlines() if 'The loss is not finite' in line]
    assert [paths_in(line, data) for line in warnings] == [
        set(images[n] + images[n - 1]) for n in (2, 4)
    ]


def paths_in(text, data):
    words = (word.strip(',;.') for word in text.split())
    return {word for word in words if word.startswith(str(data))}


def test_it_stops_at_once_if_the_weights_are_spoiled(data, tmp_path):
    cfg = spoiled_config(data, dict(what='loss', iterations=[4]))
    error, images = stop(cfg, tmp_path)
    assert max(images) == 4
    assert 'loss_spoiled=nan in iteration 4 with the images' in error
    assert 'weights are not finite either: backbone.global_token' in error
    assert paths_in(error, data) == set(images[4] + images[3])
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / 'iter_3.pth')
    assert all_finite(tmp_path / 'iter_3.pth')


def test_it_names_the_images_whose_gradients_were_not_finite(data, tmp_path):
    spoil = dict(what='gradient', iterations=[4])
    cfg = spoiled_config(data, spoil, interval=100)
    error, images = stop(cfg, tmp_path)
    before = error.split('images of the previous iteration: ')[1]
    assert 'in iteration 5' in error
    assert paths_in(before, data) == set(images[4])


@pytest.mark.parametrize(
    ('what', 'name'),
    [
        ('gradient', 'backbone.global_token'),
        ('buffer', 'backbone.patch_embed.stem.1.running_var'),
    ],
)
def test_weights_that_are_not_finite_are_not_saved(what, name, data, tmp_path):
    cfg = spoiled_config(data, dict(what=what, iterations=[4]))
    error, _ = stop(cfg, tmp_path)
    assert error.startswith('The weights are not finite and are not saved: ')
    assert name in error
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / 'iter_3.pth')
    assert all_finite(tmp_path / 'iter_3.pth')
    assert not (tmp_path / 'iter_4.pth').exists()


class MakeHuge(Hook):
    """Makes a gradient of the first iteration huge, but finite."""

    def before_train(self, runner):
        runner.model.layer.weight.register_hook(
            lambda grad: grad * 0 + 1e25 if runner.iter == 0 else grad
        )


def test_an_infinite_state_of_the_optimizer_is_not_saved(tmp_path):
    runner = make_runner(tmp_path)
    for hook in (MakeHuge(), FiniteLossHook()):
        runner.register_hook(hook)
    with pytest.raises(FloatingPointError, match='saved: exp_avg_sq of the optimizer'):
        runner.train()
    assert runner.model.layer.weight.isfinite().all()
    assert not list(tmp_path.glob('*.pth'))


def losses_of_a_process(rank, folder):
    """One of two processes; only the loss of the second one is infinite."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    hook, runner = FiniteLossHook(patience=2), Namespace(model=torch.nn.Linear(1, 1))
    runner.logger = Namespace(warning=lambda text: None)
    for runner.iter in range(5):
        samples = [Namespace(img_path=f'{rank}_{runner.iter}.png')]
        loss = torch.tensor(math.inf if rank and runner.iter > 1 else 1.0)
        try:
            hook.after_train_iter(
                runner, 0, dict(data_samples=samples), dict(loss_cls=loss)
            )
        except FloatingPointError as error:
            (folder / f'{rank}.txt').write_text(f'{runner.iter} {error}')
            break
    torch.distributed.destroy_process_group()


def test_processes_stop_together(tmp_path):
    torch.multiprocessing.start_processes(
        losses_of_a_process, (tmp_path,), nprocs=2, start_method='fork'
    )
    one, other = ((tmp_path / f'{rank}.txt').read_text() for rank in range(2))
    assert one == other
    assert one.startswith('3 ')
    assert 'loss_cls=inf in iteration 3 with the images 1_2.png;' in one
    assert 'previous iteration: 0_1.png, 1_1.png.' in one


@pytest.mark.torture
def test_two_processes_stop_together(data, tmp_path):
    spoil = dict(what='constant', iterations=[2, 3], rank=1)
    cfg = spoiled_config(data, spoil, patience=2, interval=100)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    check(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
            *('--master_port', free_port(), '-m', 'tests.engine.test_finite_loss'),
            tmp_path / 'config.py',
        ],
        ROOT,
    )
    one, other = ((tmp_path / f'{rank}.txt').read_text() for rank in range(2))
    error, images_of_one = one.split('\n')
    assert other.split('\n')[0] == error
    assert 'loss_spoiled=inf in iteration 2 with the images' in error
    now, before = error.split('images of the previous iteration: ')
    first, second, _ = other.split('\n')[1].split('|')
    assert paths_in(now, data) == paths_in(second, data)
    assert paths_in(before, data) == paths_in(first + images_of_one.split('|')[0], data)


@pytest.mark.parametrize('patience', [0, -1, 2.0, True, '3'])
def test_patience_is_checked(patience):
    with pytest.raises(ValueError, match='an integer >= 1'):
        FiniteLossHook(patience)


def main():
    """Train a config in each process, and write the error and the images."""
    path = Path(sys.argv[1])
    cfg = Config.fromfile(path)
    cfg.launcher = 'pytorch'
    distribute_on_cpu(cfg)
    error, images = stop(cfg, Path(cfg.work_dir))
    rank = torch.distributed.get_rank()
    listed = ' | '.join(' '.join(images[n]) for n in sorted(images))
    path.with_name(f'{rank}.txt').write_text(f'{error}\n{listed}')
    barrier()
    leave_process_group()


if __name__ == '__main__':
    main()
