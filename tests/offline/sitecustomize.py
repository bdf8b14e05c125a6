"""Keeps Python from connecting to other machines.

conftest.py runs this module and adds its folder to PYTHONPATH, so that the child
processes of tests also import it when they start. Each attempt is written to the
file that OFFLINE_LOG names, because the caller may swallow the error.
"""

import os
import sys

# The position of the host in the arguments of the socket module's audit events.
EVENTS = {
    'socket.connect': 1,
    'socket.sendto': 1,
    'socket.sendmsg': 1,
    'socket.getaddrinfo': 0,
    'socket.gethostbyname': 0,
    'socket.gethostbyaddr': 0,
}
# Servers pass None; '' and 0.0.0.0 mean all addresses of this machine.
LOCAL = {None, '', 'localhost', '0.0.0.0', '::', '::1', os.uname().nodename}


def is_local(address) -> bool:
    """Whether an address of a socket or the name of a host is on this machine."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = os.fsdecode(host)
    # A socket in the file system has a path as its address.
    return host in LOCAL or host.startswith(('127.', '/', '\0'))


def forbid(event, arguments) -> None:
    """An audit hook: raises PermissionError instead of reaching another machine."""
    position = EVENTS.get(event)
    if position is None or is_local(arguments[position]):
        return
    message = f'{event} to {arguments[position]!r} by {" ".join(sys.orig_argv)}'
    with open(os.environ['OFFLINE_LOG'], 'a') as file:
        file.write(f'{message}\n')
    raise PermissionError(f'Tests must not reach other machines: {message}')


sys.addaudithook(forbid)
