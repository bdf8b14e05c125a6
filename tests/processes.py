"""The tools in processes of their own, as a user starts them."""
import os
import socket
import subprocess
import sys
from pathlib import Path


def environment(**variables):
    """This process's, with its Python first and one thread."""
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1', **variables}


def run(command, folder, **variables):
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment(**variables),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(command, folder, **variables):
    done = run(command, folder, **variables)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])
