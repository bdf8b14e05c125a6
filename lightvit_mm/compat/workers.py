"""Workers of data loaders."""

import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.queues import Queue
from types import ModuleType


def end_cleanly(module: ModuleType) -> None:
    """Let only the parent stop workers, and report their errors to it.

    Args:
        module: ``torch.utils.data._utils.worker``.
    """
    module._loop_of_pytorch = module._worker_loop
    module._worker_loop = worker_loop


def worker_loop(*args, **kwargs) -> None:
    """The main function of a worker, which a spawned process imports."""
    from torch.utils.data._utils import worker

    Queue._on_queue_feeder_error = _send_error
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == 'linux':
        # A signal handler does not learn who sent the signal; sigwaitinfo does.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_for_parent, daemon=True).start()
    worker._loop_of_pytorch(*args, **kwargs)


def _exit_for_parent() -> None:
    """Exit on SIGTERM from the parent; ignore SIGTERM from other processes."""
    # With the start method forkserver, os.getppid() is not the parent.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_process().pid:
        pass
    os._exit(0)


def _send_error(queue: Queue, error: Exception, batch: tuple) -> None:
    """Send an error instead of a batch that cannot be sent."""
    from torch._utils import ExceptionWrapper

    try:
        raise OSError(
            f'A batch cannot be passed to the main process: {error}. If /dev/shm is '
            'full, make it larger (docker run --shm-size=16g), or set num_workers=0 '
            'and persistent_workers=False.'
        ) from error
    except OSError:
        queue.put((batch[0], ExceptionWrapper(where='in a worker')))
