"""Workers of data loaders."""

import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.queues import Queue
from types import ModuleType


def end_cleanly(module: ModuleType) -> None:
    """Let workers obey signals of their parent only, and pass on their errors.

    Args:
        module: ``torch.utils.data._utils.worker``.
    """
    module._loop_of_pytorch = module._worker_loop
    module._worker_loop = worker_loop


def worker_loop(*args, **kwargs) -> None:
    """The main function of a worker; a new process must be able to import it."""
    from torch.utils.data._utils import worker

    Queue._on_queue_feeder_error = _pass_on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == 'linux':
        # Signal handlers do not know the sender.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()
    worker._loop_of_pytorch(*args, **kwargs)


def _obey_parent() -> None:
    # With the start method forkserver, os.getppid() is not the parent.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_process().pid:
        pass
    os._exit(0)


def _pass_on(queue: Queue, error: Exception, batch: tuple) -> None:
    """Send an error in place of a batch that cannot be sent."""
    from torch._utils import ExceptionWrapper

    try:
        raise OSError(
            f'A batch cannot be passed to the main process: {error}. If /dev/shm is '
            'full, give the container more (docker run --shm-size=16g), or set '
            'num_workers=0 and persistent_workers=False.'
        ) from error
    except OSError:
        queue.put((batch[0], ExceptionWrapper(where='in a worker')))
