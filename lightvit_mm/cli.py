"""What the command-line tools share: arguments and how they enter a config."""

import argparse
import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# mmengine 0.10 imports pkg_resources; a user of these tools cannot change that.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from . import config  # noqa: E402
from .checkpoints import CheckpointError  # noqa: E402
from .config import walk  # noqa: E402


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add a config and what overrides its settings."""
    parser.add_argument(
        'config',
        help='config file, or one of an installed package as in '
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value, nested keys with '
        'dots, lists as key="[a,b]"',
    )


def read_config(args: argparse.Namespace) -> Config:
    """The config of ``args.config`` with ``args.cfg_options`` merged in.

    Raises:
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If its package is not installed.
    """
    cfg = config.read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    return cfg


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every OpenMMLab tool has."""
    add_config(parser)
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; by default that of the config, '
        'else work_dirs/CONFIG_NAME',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who starts the processes; dist_train.sh and slurm_train.sh set it',
    )


def run_config(args: argparse.Namespace) -> Config:
    """The config of ``args.config`` with the common options merged in.

    Raises:
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If its package is not installed.
    """
    cfg = read_config(args)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(cfg.filename).stem)
    if args.launcher != 'none' and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner that ``runner_type`` of a config names, or mmengine's."""
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    return build(cfg)


def add_device(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--device``: cpu or cuda, by default cuda where there is a GPU.

    Args:
        parser: Parser to add it to.
        default: Another default.
    """
    has_gpu = torch.cuda.is_available()

    def device(name: str) -> str:
        if name == 'cuda' and not has_gpu:
            raise argparse.ArgumentTypeError('PyTorch finds no GPU here; use cpu')
        return name

    parser.add_argument(
        '--device',
        type=device,
        choices=['cpu', 'cuda'],
        default=default or ('cuda' if has_gpu else 'cpu'),
        help='default %(default)s',
    )


@contextmanager
def short_errors() -> Iterator[None]:
    """End the program with the message of an error that its user can correct."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError, CheckpointError) as error:
        raise SystemExit(str(error)) from error


def draw_predictions(
    cfg: Config, show: bool, show_dir: str | None, wait_time: float
) -> None:
    """Switch on the visualization hook of the config's library.

    Args:
        cfg: Config of any of the three libraries.
        show: Show each picture in a window.
        show_dir: Save the pictures in this folder.
        wait_time: Seconds for which a window stays.

    Raises:
        ValueError: If the config has no visualization hook.
    """
    hook = cfg.default_hooks.get('visualization', {})
    options = {
        'DetVisualizationHook': dict(
            draw=True, show=show, wait_time=wait_time, test_out_dir=show_dir
        ),
        'VisualizationHook': dict(
            enable=True, show=show, wait_time=wait_time, out_dir=show_dir
        ),
        'SegVisualizationHook': dict(draw=True, show=show, wait_time=wait_time),
    }
    if hook.get('type') not in options:
        raise ValueError(
            'Pictures are drawn by default_hooks.visualization of type '
            f'{", ".join(options)}; the config has {hook or None}'
        )
    hook.update(options[hook.type], interval=1)
    if show_dir is not None:
        cfg.visualizer.save_dir = show_dir


def leave_process_group() -> None:
    """End what joins the processes of a run that went well, if it has several.

    mmengine leaves it open, and Gloo's threads then crash an exit now and
    then, for which torchrun takes the whole run as failed.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        # The threads end with the last reference, which the runner has.
        gc.collect()


def _distribute_on_cpu(cfg: Config) -> None:
    """Mmengine takes it that each process has a GPU; on CPU it is gloo."""
    torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
    # PyTorch has SyncBN on GPUs alone.
    for settings in walk(cfg.model):
        if settings.get('type') == 'SyncBN':
            settings['type'] = 'BN'
