"""Neither the package nor a test reaches another machine: see tests/offline."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ATTEMPTS
from .processes import check, environment

ROOT = Path(__file__).parents[1]
# Reserved for examples: nobody has them.
ADDRESS, NAME = '192.0.2.1', 'nobody.invalid'
ATTEMPTED = {
    'connect': f'socket.socket().connect(({ADDRESS!r}, 80))',
    'connect_udp': f'socket.socket(type=socket.SOCK_DGRAM).connect(({ADDRESS!r}, 53))',
    'connect_ex': f'socket.socket().connect_ex(({ADDRESS!r}, 80))',
    'sendto': f'socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ({ADDRESS!r}, 53))',
    'getaddrinfo': f'socket.getaddrinfo({NAME!r}, 80)',
    'gethostbyname': f'socket.gethostbyname({NAME!r})',
    'urllib': f'import urllib.request; urllib.request.urlopen("http://{ADDRESS}")',
}


def taken_attempts():
    """What this test attempted; then it does not fail because of that."""
    ATTEMPTS.seek(0)
    attempts = ATTEMPTS.read()
    ATTEMPTS.truncate(0)
    return attempts


@pytest.mark.parametrize('code', ATTEMPTED.values(), ids=ATTEMPTED)
def test_another_machine_is_out_of_reach(code):
    with pytest.raises(OSError, match='must not reach other machines'):
        exec(code)
    assert ADDRESS in (attempts := taken_attempts()) or NAME in attempts


def test_swallowed_errors_of_child_processes_are_seen():
    code = f'try: {ATTEMPTED["getaddrinfo"]}\nexcept OSError: pass'
    subprocess.run(
        [sys.executable, '-c', f'import socket\n{code}'], env=environment(), check=True
    )
    assert NAME in taken_attempts()


def test_this_machine_is_within_reach(tmp_path):
    for host in ('127.0.0.1', 'localhost'):
        with socket.create_server((host, 0)) as server:
            socket.create_connection(server.getsockname()).close()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 'socket'))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / 'socket'))


TOOLS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / 'tools').rglob('*.py')
    # The demo has no arguments.
    if "if __name__ == '__main__'" in path.read_text() and path.stem != 'demo'
)


def internet_calls(command, folder):
    """The system calls of a command and its children that use internet sockets."""
    log = folder / 'calls.txt'
    strace = ['strace', '-f', '-o', log, '-e', 'trace=connect,sendto,sendmsg,sendmmsg']
    check([*strace, *command], folder)
    return [line for line in log.read_text().splitlines() if 'AF_INET' in line]


@pytest.mark.torture
@pytest.mark.skipif(not shutil.which('strace'), reason='needs strace')
@pytest.mark.parametrize(
    'arguments',
    [['-c', 'import lightvit_mm.models'], *([ROOT / tool, '--help'] for tool in TOOLS)],
    ids=['import', *TOOLS],
)
def test_no_system_call_reaches_another_machine(arguments, tmp_path):
    python = [sys.executable, *arguments]
    assert internet_calls(python, tmp_path) == []


@pytest.mark.torture
@pytest.mark.skipif(not shutil.which('strace'), reason='needs strace')
def test_system_calls_are_seen(tmp_path):
    code = f'import socket; {ATTEMPTED["connect_udp"]}'
    # -S: without tests/offline.
    (call,) = internet_calls([sys.executable, '-S', '-c', code], tmp_path)
    assert ADDRESS in call
