"""What the command-line tools share: arguments, configs and short errors.

Import it before mmpretrain, mmdet and mmseg, so that a tool starts without warnings.
"""

import argparse
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# mmengine 0.10 imports pkg_resources; the user of a tool cannot change that.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)
# torch.utils.benchmark looks for a CUDA compiler and warns if there is no GPU.
logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from . import cfg_options, config  # noqa: E402
from .checkpoints import CheckpointError  # noqa: E402
from .engine.distributed import distribute_on_cpu  # noqa: E402
from .engine.own_data import complete, own_data_runner  # noqa: E402
from .errors import short_errors  # noqa: E402, F401
from .messages import printable  # noqa: E402
from .metafile import published_weights  # noqa: E402
from .model_folder import is_published  # noqa: E402
from .predict.sources import is_source  # noqa: E402
from .settings import check_settings  # noqa: E402
from .weights import RELEASED  # noqa: E402


class CfgOptions(DictAction):
    """mmengine's action with a short error."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Read options; end the program if one is not KEY=VALUE."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError):
            parser.error(
                f'{option_string} {" ".join(values)}: expected KEY=VALUE, without '
                'spaces, and lists as KEY="[a,b]"'
            )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the config and ``--cfg-options``, which override its settings."""
    parser.add_argument(
        'config',
        help='config file; config of an installed package, such as '
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py; or published model (its '
        'folder or hf://OWNER/NAME)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        default={},
        help='override settings of the config: key=value, with dots in nested '
        'keys and lists as key="[a,b]"',
    )


def read_config(args: argparse.Namespace) -> Config:
    """Read the config ``args.config`` and merge ``args.cfg_options`` into it.

    Raises:
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If its package is not installed.
        ValueError: If the file has a syntax error, or an option is misspelled or
            has no effect.
    """
    cfg = config.read_config(args.config)
    cfg_options.merge(cfg, args.cfg_options)
    return cfg


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint; see :func:`checkpoint_of` for its default.

    Parse with ``parse_intermixed_args``: before Python 3.13, ``parse_args`` misses an
    optional file after an option.
    """
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; address, such as lightvit://tiny-in1k; or published '
        'model (its folder or hf://OWNER/NAME); default: the weights of the published '
        'model that is the config, or the published weights of the config, which '
        'docs/model_zoo.md lists',
    )


def add_checkpoint_and_sources(parser: argparse.ArgumentParser, **options) -> None:
    """Add the checkpoint, as :func:`add_checkpoint`, and files to run the model on.

    :func:`parse_sources` tells them apart.

    Args:
        parser: Parser to add them to.
        **options: Of ``add_argument`` for the files, which are called ``paths``.
    """
    add_checkpoint(parser)
    parser.add_argument('paths', nargs='+', **options)


def parse_sources(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse arguments with :func:`add_checkpoint_and_sources`.

    The first file after the config is the checkpoint, unless it is an image, a
    video, a glob or a folder other than a published model. Then ``checkpoint`` is None.
    """
    args = parser.parse_intermixed_args()
    given = [args.checkpoint, *args.paths] if args.checkpoint else args.paths
    args.checkpoint, args.paths = None, given
    if not is_source(given[0]):
        args.checkpoint, *args.paths = given
    if not args.paths:
        parser.error(f'{args.checkpoint} is not an image: add one after the checkpoint')
    return args


def checkpoint_of(args: argparse.Namespace, cfg: Config) -> str:
    """The checkpoint of :func:`add_checkpoint`.

    The default is the config if that is a published model, otherwise the published
    weights of the config.

    Raises:
        ValueError: If none is given, and the config has no published weights.
    """
    if args.checkpoint is None and is_published(args.config):
        return args.config
    checkpoint = args.checkpoint or published_weights(cfg)
    if checkpoint is None:
        raise ValueError(
            f'{cfg.filename} has no published weights: give a checkpoint after the '
            'config'
        )
    return checkpoint


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that train.py and test.py share with OpenMMLab's tools."""
    add_config(parser)
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; default: work_dir of the config, '
        'or work_dirs/CONFIG_NAME',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher of the processes; dist_train.sh and slurm_train.sh set it',
    )


def run_config(args: argparse.Namespace, needed: Sequence[str] = ()) -> Config:
    """Read the config of a run, merge all arguments into it and complete it.

    A config for your own data is completed from ``data_root``. On several
    processes without GPUs, this also starts their process group.

    Args:
        args: Arguments of :func:`add_run_arguments`.
        needed: The settings that the run requires.

    Raises:
        OSError: If there is no such config, or a file of your own data is missing.
        ModuleNotFoundError: If its package is not installed.
        ValueError: If the file has a syntax error, an option is misspelled or has
            no effect, a setting is missing, or your own data have a fault.
    """
    cfg = read_config(args)
    cfg.launcher = args.cfg_options.get('launcher', args.launcher)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', config.config_name(args.config))
    complete(cfg)
    missing = [name for name in needed if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{args.config} has no {", ".join(missing)}: give a complete config, not a '
            'base config'
        )
    config.check_class_weights(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        distribute_on_cpu(cfg)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a complete config: that of ``runner_type``, or mmengine's.

    Errors of the classes that the config names are raised unchanged.

    Raises:
        ValueError: If a setting has a wrong value that mmengine would accept.
    """
    check_settings(cfg)
    runner = own_data_runner(cfg)
    if runner is not None:
        return runner.from_filled(cfg)
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    return build(cfg)


def add_device(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--device``, cpu or cuda.

    Args:
        parser: Parser to add it to.
        default: The default; None for cuda if there is a GPU, otherwise cpu.
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
def short_weight_errors(cfg: Config) -> Iterator[None]:
    """Exit with a message if weights are missing; say how to train without them.

    Args:
        cfg: Complete config of the run.
    """
    try:
        yield
    except (CheckpointError, OSError, ValueError) as error:
        paths = [
            path
            for path, checkpoint in _pretrained(cfg.model, 'model')
            if _file(checkpoint) in str(error)
        ]
        if not paths and not isinstance(error, CheckpointError):
            raise
        options = [f'{path}=None' for path in paths]
        if own_data_runner(cfg) is not None:
            options = ['pretrained=None']
        message = str(error)
        if paths:
            message = (
                f'{message.rstrip(".")}. To train from random weights, add '
                f'--cfg-options {" ".join(options)}'
            )
        raise SystemExit(printable(message)) from error


def _file(checkpoint: str) -> str:
    """How errors name a checkpoint."""
    return RELEASED[checkpoint].file if checkpoint in RELEASED else checkpoint


def _pretrained(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """The place of each init_cfg below a node that names a checkpoint."""
    if isinstance(node, dict):
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, dict) and 'checkpoint' in init_cfg:
            yield f'{path}.init_cfg', init_cfg['checkpoint']
        for key, child in node.items():
            yield from _pretrained(child, f'{path}.{key}')


def draw_predictions(
    cfg: Config, show: bool, show_dir: str | None, wait_time: float
) -> None:
    """Enable the visualization hook of a config.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        show: Show each picture in a window.
        show_dir: Save the pictures to this folder.
        wait_time: Seconds for which a window stays open.

    Raises:
        ValueError: If the config has no visualization hook.
    """
    if show_dir is not None:
        # mmdet would put a relative one into the work dir.
        show_dir = os.path.abspath(show_dir)
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
            f'default_hooks.visualization={hook or None} should be of type '
            f'{", ".join(options)}, which draw the predictions'
        )
    hook.update(options[hook.type], interval=1)
    if show_dir is not None:
        cfg.visualizer.save_dir = show_dir
