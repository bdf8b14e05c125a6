"""End a distributed run if one of its processes no longer responds."""

import os
import socket
import sys
import threading
from datetime import timedelta

import torch
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed import PrefixStore, Store, TCPStore

from ..arguments import SECONDS, checked
from ..registry import HOOKS


@HOOKS.register_module()
class LostRankHook(Hook):
    """Ends all processes of a run if one of them no longer responds.

    A thread in each process reports to the others, also during long validations. If
    a process has not reported for ``timeout`` seconds, the others print its rank and
    exit with 1. Without this hook, they would wait for 10 minutes (NCCL) or 30
    minutes (gloo), and then print a traceback.

    Launchers detect processes that have ended. This hook is for processes that are
    suspended and for machines that are lost.

    Args:
        timeout: Seconds without a report after which a process counts as lost.
            Default: 120.

    Raises:
        ValueError: If ``timeout`` is not a positive number.
    """

    @checked(timeout=SECONDS)
    def __init__(self, timeout: float = 120) -> None:
        self.timeout = timeout
        self._trained = threading.Event()

    def before_train(self, runner: Runner) -> None:
        """Start to report and to watch the others."""
        if runner.world_size == 1:
            return
        store = _connect(self.timeout)
        store.set(f'name{runner.rank}', f'{os.getpid()} on {socket.gethostname()}')
        store.set(f'report{runner.rank}', '0')
        barrier()  # Each process has reported once.
        threading.Thread(
            target=self._watch,
            args=(store, runner.rank, runner.world_size),
            daemon=True,
        ).start()

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._trained.set()

    def _watch(self, store: Store, rank: int, world_size: int) -> None:
        others = [other for other in range(world_size) if other != rank]
        interval = self.timeout / 12
        silent = dict.fromkeys(others, 0)
        last = dict.fromkeys(others)
        try:
            names = store.multi_get([f'name{other}' for other in others])
            count = 0
            while not self._trained.wait(interval) and _is_distributed():
                count += 1
                store.set(f'report{rank}', str(count))
                reports = store.multi_get([f'report{other}' for other in others])
                for other, name, report in zip(others, names, reports):
                    silent[other] = 0 if report != last[other] else silent[other] + 1
                    last[other] = report
                    if report != b'ended' and silent[other] * interval >= self.timeout:
                        _exit(
                            rank,
                            f'rank {other}, process {name.decode()}, has not responded '
                            f'for {self.timeout:g} seconds',
                        )
            store.set(f'report{rank}', 'ended')
        except RuntimeError as error:  # DistError, since PyTorch 2.2
            if not self._trained.is_set() and _is_distributed():
                _exit(rank, f'it lost the connection to the run ({error})')


def _connect(timeout: float) -> Store:
    """A separate connection to the run's store, only for this thread."""
    store = TCPStore(
        os.environ['MASTER_ADDR'],
        int(os.environ['MASTER_PORT']),
        is_master=False,
        timeout=timedelta(seconds=timeout),
    )
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    return PrefixStore(f'lightvit_mm/{attempt}', store)


def _is_distributed() -> bool:
    return torch.distributed.is_initialized()


def _exit(rank: int, cause: str) -> None:
    """End this process, even if its main thread waits for the lost one."""
    print(f'Rank {rank} exits: {cause}.', file=sys.stderr, flush=True)
    os._exit(1)
