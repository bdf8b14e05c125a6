"""Patches of how mmengine reads and writes files."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType

from ..files import write_whole
from ..untrusted import check_is_file


def refuse_pipes(module: ModuleType) -> None:
    """Raise an OSError for pipes and devices instead of waiting for their content.

    Args:
        module: ``mmengine.fileio.backends.local_backend``.
    """

    def checked(read: Callable) -> Callable:
        @wraps(read)
        def read_file(self, filepath, *args, **kwargs):
            check_is_file(filepath)
            return read(self, filepath, *args, **kwargs)

        return read_file

    for name in ('get', 'get_text', 'get_local_path'):
        setattr(module.LocalBackend, name, checked(getattr(module.LocalBackend, name)))


def write_files_whole(module: ModuleType) -> None:
    """Write checkpoints to a draft that then replaces them.

    Args:
        module: ``mmengine.fileio.backends.local_backend``.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        write_whole(Path(filepath), obj)

    module.LocalBackend.put = put
