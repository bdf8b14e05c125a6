"""torchrun, but it reports in one line why a run ended and keeps the exit status."""

import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Start the processes of a run and forward signals to them.

    If a process fails, torchrun ends the others: with SIGTERM, and after 30 seconds
    with SIGKILL.
    """
    try:
        run.main()
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        how = f'got {failure.signal_name()}' if code < 0 else f'exited with {code}'
        print(
            f'The run ended because rank {rank}, process {failure.pid}, {how}.',
            file=sys.stderr,
        )
        sys.exit(code if code > 0 else 128 - code)


if __name__ == '__main__':
    main()
