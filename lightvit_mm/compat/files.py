"""Patches of how mmengine reads files."""

from collections.abc import Callable
from functools import wraps
from types import ModuleType

from ..untrusted import check_is_file, check_json_fits_memory


def refuse_endless(module: ModuleType) -> None:
    """Raise an OSError for pipes and devices, and for JSON larger than the memory.

    Their content would never end, or end the process.

    Args:
        module: ``mmengine.fileio.backends.local_backend``.
    """

    def checked(read: Callable) -> Callable:
        @wraps(read)
        def read_file(self, filepath, *args, **kwargs):
            check_is_file(filepath)
            if str(filepath).endswith('.json'):
                check_json_fits_memory(filepath)
            return read(self, filepath, *args, **kwargs)

        return read_file

    for name in ('get', 'get_text', 'get_local_path'):
        setattr(module.LocalBackend, name, checked(getattr(module.LocalBackend, name)))


def unpickle_safely(module: ModuleType) -> None:
    """Read pickles without executing code from them.

    Args:
        module: ``mmengine.fileio.handlers.pickle_handler``.
    """
    handler = module.PickleHandler
    load = handler.load_from_fileobj

    def load_from_fileobj(self, file, **kwargs):
        # Their modules import mmengine, which is importing this one.
        from ..safe_load import allows_code
        from ..safe_pickle import load_pickle

        if allows_code():
            return load(self, file, **kwargs)
        return load_pickle(file, **kwargs)

    handler.load_from_fileobj = load_from_fileobj


def read_yaml_safely(module: ModuleType) -> None:
    """Read YAML without executing code from it.

    Args:
        module: ``mmengine.fileio.handlers.yaml_handler``.
    """
    handler = module.YamlHandler
    load = handler.load_from_fileobj

    def load_from_fileobj(self, file, **kwargs):
        from ..safe_load import allows_code
        from ..safe_pickle import load_yaml

        # The only option names a loader.
        if kwargs or allows_code():
            return load(self, file, **kwargs)
        return load_yaml(file)

    handler.load_from_fileobj = load_from_fileobj
