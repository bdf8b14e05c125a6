"""Patches of how mmengine writes logs."""

import logging
from types import ModuleType

from ..messages import printable


def escape_control_characters(module: ModuleType) -> None:
    """Escape control characters in messages, which could control the terminal.

    Args:
        module: ``mmengine.logging.logger``.
    """
    formatter = module.MMFormatter
    format_ = formatter.format

    def format_printable(self, record: logging.LogRecord) -> str:
        # The formatter itself adds colours, which are control characters.
        values = {**vars(record), 'msg': printable(record.getMessage()), 'args': None}
        return format_(self, logging.makeLogRecord(values))

    formatter.format = format_printable
