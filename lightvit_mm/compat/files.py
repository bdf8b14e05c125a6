"""Patches of how mmengine reads and writes files."""

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

from ..files import write_whole
from ..messages import reason
from ..untrusted import check_is_file, check_json_fits_memory


def refuse_endless(module: ModuleType) -> None:
    """Raise an OSError for pipes, devices and JSON that does not fit into memory.

    Reading them would never end, or crash the process.

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


def write_files_whole(module: ModuleType) -> None:
    """Write checkpoints to a temporary file, then rename it.

    Args:
        module: ``mmengine.fileio.backends.local_backend``.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        write_whole(Path(filepath), obj)

    module.LocalBackend.put = put


def name_image(module: ModuleType) -> None:
    """Raise a ValueError that names an image that cannot be read.

    Args:
        module: ``mmcv.transforms.loading``.
    """
    _name_path(module.LoadImageFromFile, 'transform', 'img_path')


def name_mask(module: ModuleType) -> None:
    """Raise a ValueError that names a mask that cannot be read.

    Args:
        module: ``mmseg.datasets.transforms.loading``.
    """
    _name_path(module.LoadAnnotations, '_load_seg_map', 'seg_map_path')


def _name_path(transform: type, method: str, key: str) -> None:
    load = getattr(transform, method)

    @wraps(load)
    def named_load(self, results: dict) -> dict | None:
        try:
            return load(self, results)
        except Exception as error:
            path = str(results.get(key))
            if isinstance(error, OSError) and path in str(error):
                raise
            raise ValueError(
                f'{path} cannot be read; expected an image file such as a JPEG or '
                f'PNG: {reason(error)}'
            ) from error

    setattr(transform, method, named_load)


def unpickle_safely(module: ModuleType) -> None:
    """Read pickles without executing code from them.

    Args:
        module: ``mmengine.fileio.handlers.pickle_handler``.
    """
    handler = module.PickleHandler
    load = handler.load_from_fileobj

    def load_from_fileobj(self, file, **kwargs):
        # At the top, these imports would be circular: the modules import mmengine.
        from ..safe_load import allows_code
        from ..safe_pickle import load_pickle

        if allows_code():
            return load(self, file, **kwargs)
        return load_pickle(file, **kwargs)

    handler.load_from_fileobj = load_from_fileobj


def unpickle_with_mmengine(module: ModuleType) -> None:
    """Read pickles through mmengine, which :func:`unpickle_safely` makes safe.

    Args:
        module: One that calls ``pickle.loads``.
    """
    from mmengine.fileio import load

    def loads(data: bytes, **kwargs):
        return load(BytesIO(data), file_format='pkl', **kwargs)

    module.pickle = SimpleNamespace(loads=loads)


def read_hierarchy_safely(module: ModuleType) -> None:
    """Read the class hierarchy, an array of objects, through mmengine, too.

    Args:
        module: ``mmdet.datasets.openimages``.
    """
    import numpy as np
    from mmengine.fileio import load

    def read_array(path: str) -> np.ndarray:
        with open(path, 'rb') as file:
            # NumPy writes other versions for records only.
            if np.lib.format.read_magic(file) == (1, 0):
                _, _, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype.hasobject:
                    return load(file, file_format='pkl')
        return np.load(path)

    def get_relation_matrix(self, hierarchy_file: str) -> np.ndarray:
        with module.get_local_path(
            hierarchy_file, backend_args=self.backend_args
        ) as path:
            return read_array(path)[1:, 1:]

    module.OpenImagesChallengeDataset._get_relation_matrix = get_relation_matrix


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
