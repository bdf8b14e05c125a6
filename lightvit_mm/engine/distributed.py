"""Process groups of distributed runs, where mmengine's defaults do not fit."""

import gc

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce

from ..nested import walk


def distribute_on_cpu(cfg: Config) -> None:
    """Start the process group of a run without GPUs and adapt its config.

    mmengine assumes one GPU per process; on the CPU the backend is gloo.
    """
    torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
    # PyTorch has SyncBN on GPUs only.
    for settings in walk(cfg.model):
        if settings.get('type') == 'SyncBN':
            settings['type'] = 'BN'


def leave_process_group() -> None:
    """End the process group of a run that succeeded, if there is one.

    mmengine leaves it open. Gloo's threads then crash the exit now and then, and
    torchrun reports the whole run as failed.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        # The threads end with the last reference, which the runner holds.
        gc.collect()


def largest(number: int) -> int:
    """The largest of the numbers that all processes give."""
    numbers = torch.tensor(number)
    all_reduce(numbers, 'max')
    return int(numbers)
