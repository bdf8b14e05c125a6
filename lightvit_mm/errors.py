"""Errors of the tools: one line on the terminal, the traceback in the log file."""

import logging
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger

from .files import ROOT
from .messages import printable

# Set it to see every traceback on the terminal.
TRACEBACK_VARIABLE = 'LIGHTVIT_MM_TRACEBACK'

_MAX_CHARS = 600
_OURS = (str(Path(__file__).parent), str(ROOT / 'tools'))
_STANDARD_LIBRARY = sysconfig.get_path('stdlib')
_CALL = re.compile(
    # The indented lines below the code are Python's markers of parts of it.
    r'^ +File "(?P<file>.+)", line (?P<line>\d+).*\n'
    r'(?: {4,}(?P<code>.*)\n)?(?: {4,}.*\n)*',
    re.MULTILINE,
)


@contextmanager
def short_errors() -> Iterator[None]:
    """Exit with one line on an error, and append its traceback to the log file.

    The terminal shows the traceback of errors in the user's code, such as a dataset
    class. If the environment variable ``LIGHTVIT_MM_TRACEBACK`` is set, it shows the
    traceback of every error.
    """
    try:
        yield
    except Exception as error:
        trace = ''.join(traceback.format_exception(error))
        log = _append_to_log(trace)
        report = _report(error, trace)
        if report.in_users_code or os.environ.get(TRACEBACK_VARIABLE):
            raise
        line = report.message
        if not report.is_clear:
            where = f'in {log}' if log else f'shown with {TRACEBACK_VARIABLE}=1'
            line = f'{line} ({report.place}; the traceback is {where})'
        raise SystemExit(printable(line)) from error


class _Report(NamedTuple):
    """What a user needs to know about an error.

    Args:
        message: What is wrong.
        is_clear: Whether the message is enough to fix the error.
        place: Where it was raised.
        in_users_code: Whether the user's code raised it or called what raised it.
    """

    message: str
    is_clear: bool
    place: str
    in_users_code: bool


def _report(error: Exception, trace: str) -> _Report:
    # The message of an error in a data loader's worker is a traceback.
    _, in_worker, original = str(error).partition('Original Traceback')
    if in_worker:
        trace = original
    *_, last = calls = list(_CALL.finditer(trace))
    kind, _, message = trace[last.end() :].strip().partition(': ')
    if not in_worker:
        # str() of a KeyError is quoted.
        is_text = isinstance(error, KeyError) and ' ' in str(error)
        message = error.args[0] if is_text else str(error)
    # Errors that this package raises itself have messages for users.
    code = last['code'] or ''
    is_clear = last['file'].startswith(_OURS) and code.startswith('raise ')
    in_users_code = not is_clear and any(_is_users(call['file']) for call in calls)
    if isinstance(error, OSError):
        # Others, such as that for a full disk, do not name the file.
        is_clear = is_clear or error.filename is not None or error.errno is None
    if not is_clear:
        message = ' '.join(f'{kind}: {message or code}'.split())
        if len(message) > _MAX_CHARS:
            message = message[:_MAX_CHARS] + '...'
    return _Report(message, is_clear, _place(error, last), in_users_code)


def _is_users(file: str) -> bool:
    """Whether code is neither installed nor part of Python or this package."""
    # Compiled code of NumPy names files that are not installed.
    return Path(file).is_file() and not (
        {'site-packages', 'dist-packages'}.intersection(Path(file).parts)
        or file.startswith((_STANDARD_LIBRARY, *_OURS))
    )


def _place(error: Exception, last: re.Match) -> str:
    file = re.sub(r'.*[\\/](site|dist)-packages[\\/]', '', last['file'])
    place = f'{file}, line {last["line"]}'
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_name == 'build_from_cfg':
            cfg = frame.f_locals['cfg']
            kind = cfg.get('type') if isinstance(cfg, dict) else cfg
            return f'{place}, which builds {kind}'
    return place


def _append_to_log(trace: str) -> str | None:
    """Append a traceback to the log file of the run, if any, and return its path."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            with suppress(OSError):  # such as a full disk
                # File names that are not UTF-8 are escaped.
                with open(
                    handler.baseFilename,
                    'a',
                    encoding='utf-8',
                    errors='backslashreplace',
                ) as file:
                    file.write(trace)
                return os.path.relpath(handler.baseFilename)
    return None
