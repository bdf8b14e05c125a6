"""Train any mmpretrain, mmdet or mmsegmentation config."""

import argparse

from mmengine.config import Config
from mmengine.device import get_device

from lightvit_mm import cli
from lightvit_mm.config import type_name
from lightvit_mm.engine.distributed import leave_process_group


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint; without CHECKPOINT, from the latest in '
        'the work dir, or from the beginning if there is none',
    )
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the total batch size relative to '
        'auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during training'
    )
    return parser.parse_args()


def check_strategy(cfg: Config) -> None:
    """Refuse an unused strategy, and hooks that fail or lose iterations with one."""
    if cfg.get('runner_type') != 'FlexibleRunner':
        if cfg.get('strategy'):
            raise SystemExit(
                'strategy has no effect without runner_type=FlexibleRunner: set both'
            )
        return
    hooks = [*(cfg.get('custom_hooks') or []), *cfg.default_hooks.values()]
    if 'EMAHook' in map(type_name, filter(None, hooks)):
        raise SystemExit(
            f'EMAHook does not work with {cfg.strategy.type}, which does not keep '
            'whole weights: remove one of them'
        )
    # mmengine saves the best checkpoint with the number of the next epoch.
    if any('save_best' in hook for hook in filter(None, hooks)):
        raise SystemExit(
            f'save_best does not work with {cfg.strategy.type}, because a run would '
            'skip an epoch when it is resumed: remove save_best'
        )


@cli.short_errors()
def main() -> None:
    args = parse_args()
    cfg = cli.run_config(args, ('model', 'train_dataloader', 'optim_wrapper'))
    check_strategy(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    mixed = cfg.optim_wrapper.get('type') == 'AmpOptimWrapper'
    if mixed and get_device() in ('cpu', 'mps'):
        raise SystemExit(
            'Mixed precision needs a GPU, and PyTorch finds none here: leave out '
            '--amp, or add --cfg-options optim_wrapper.type=OptimWrapper'
        )
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SystemExit(
                f'--auto-scale-lr needs auto_scale_lr.base_batch_size in '
                f'{args.config}: the total batch size that its learning rate is for'
            )
        cfg.auto_scale_lr.enable = True
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None

    runner = cli.build_runner(cfg)
    with cli.short_weight_errors(cfg):
        runner.train()


if __name__ == '__main__':
    main()
    leave_process_group()
