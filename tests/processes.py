"""Run the tools in new processes, as users do."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# Load data in the main process, without the start-up time of workers.
NO_WORKERS = {
    f'{split}_dataloader.{key}': value
    for split in ('train', 'val', 'test')
    for key, value in (('num_workers', 0), ('persistent_workers', False))
}


def environment(**variables):
    """The environment of this process, with its Python first and one thread."""
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1', **variables}


def cfg_options(settings):
    """The arguments that override settings of a config."""
    return [
        '--cfg-options',
        *(f'{key}={value}'.replace(' ', '') for key, value in settings.items()),
    ]


def run(command, folder, **variables):
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check(command, folder, **variables):
    done = run(command, folder, **variables)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])


@contextmanager
def serving(command, folder, **variables):
    """Start a server; yield its address and a function that returns its output.

    At the end, it is stopped as by Ctrl+C, and has to exit with 0.
    """
    log = Path(folder, 'server.log')
    with open(log, 'w') as file:
        server = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=environment(**variables),
            stdout=file,
            stderr=subprocess.STDOUT,
            # What a shell starts in the background ignores Ctrl+C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        while (match := re.search(r'http://\S+', log.read_text())) is None:
            assert server.poll() is None, log.read_text()[-4000:]
            time.sleep(0.2)
        yield match[0], log.read_text
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0, log.read_text()[-4000:]
    finally:
        server.kill()
        server.wait()
