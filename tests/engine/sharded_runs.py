"""Train a task with DDP and with FSDP, in each process of torchrun.

Each run saves its weights to FOLDER/NAME. Two strategies are wrong on purpose.
"""

import argparse
import json
from pathlib import Path

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, STRATEGIES
from torch.nn.utils import clip_grad_norm_

from lightvit_mm.engine.distributed import leave_process_group
from lightvit_mm.engine.fsdp import FSDPStrategy
from lightvit_mm.trained import build_model

from .short_runs import run_config, train


@STRATEGIES.register_module()
class ClipEachPart(FSDPStrategy):
    """Each process clips by the norm of its part."""

    def build_optim_wrapper(self, optim_wrapper, model):
        optim_wrapper = super().build_optim_wrapper(optim_wrapper, model)
        optim_wrapper.clip_func = clip_grad_norm_
        return optim_wrapper


@STRATEGIES.register_module()
class DecayEachPart(FSDPStrategy):
    """The optimizer is built for the sharded model, as mmengine does."""

    prepare = MMEngineFSDPStrategy.prepare

    def build_optim_wrapper(self, optim_wrapper, model):
        built = MMEngineFSDPStrategy.build_optim_wrapper(self, optim_wrapper, model)
        built.clip_func = lambda _, **options: model.clip_grad_norm_(**options)
        return built


@HOOKS.register_module()
class CountParameters(Hook):
    """Saves how many numbers a process holds: weights and optimizer state."""

    def after_train(self, runner):
        optimizer = runner.optim_wrapper.optimizer
        tensors = [
            *runner.model.parameters(),
            *(state['momentum_buffer'] for state in optimizer.state.values()),
        ]
        count = sum(tensor.numel() for tensor in tensors)
        Path(runner.work_dir, f'count_{runner.rank}.txt').write_text(str(count))


def config(root, task, initial, strategy=None, **settings):
    """A run in which the norm, the decay and the depth of a parameter matter."""
    cfg = run_config(root, task, 'iterations', interval=2)
    cfg.train_cfg.max_iters = 4
    cfg.custom_hooks = [dict(type='CountParameters')]
    cfg.load_from = initial
    cfg.optim_wrapper = dict(
        optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=0.05),
        clip_grad=dict(max_norm=0.1),
        constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.8, flat_decay_mult=0.0),
    )
    cfg.launcher = 'pytorch'
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
    cfg.env_cfg = {}
    cfg.merge_from_dict(settings)
    if strategy is not None:
        cfg.runner_type = 'FlexibleRunner'
        cfg.strategy = dict(type=strategy)
    return cfg


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('task')
    parser.add_argument('root', type=Path)
    parser.add_argument('folder', type=Path)
    parser.add_argument('settings', type=json.loads, help='of all configs, as JSON')
    args = parser.parse_args()

    initial = str(args.folder / f'initial_{torch.distributed.get_rank()}.pth')

    def run(name, strategy=None, checkpoint=None, **settings):
        settings |= args.settings
        cfg = config(args.root, args.task, initial, strategy, **settings)
        train(cfg, args.folder / name, checkpoint)

    torch.manual_seed(0)
    model = build_model(config(args.root, args.task, None))
    torch.save(dict(state_dict=model.state_dict()), initial)
    run('ddp')
    run('fsdp', 'lightvit_mm.FSDPStrategy')
    run('clip_each_part', 'ClipEachPart')
    run('decay_each_part', 'DecayEachPart')

    adamw = dict(type='AdamW', lr=1e-3, weight_decay=0.05, _delete_=True)
    adamw = {'optim_wrapper.optimizer': adamw, 'custom_hooks': []}
    run('whole', 'lightvit_mm.FSDPStrategy', **adamw)
    run(
        'resumed', 'lightvit_mm.FSDPStrategy', args.folder / 'whole/iter_2.pth', **adamw
    )


if __name__ == '__main__':
    torch.distributed.init_process_group('gloo')
    main()
    leave_process_group()
