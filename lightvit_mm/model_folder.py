"""Published models: folders that ``tools/publish.py`` wrote, here or on Hugging Face.

The tools take a folder as config or checkpoint, mmengine as a checkpoint, and
OpenMMLab's inferencers as a model. Each file is checked against ``SHA256SUMS`` before
it is used, and none is executed.
"""

import hashlib
import re
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from . import hugging_face, inert_config
from .arguments import DICT, TEXT, Kind, check, each, integer
from .safe_load import CheckpointError, read
from .untrusted import check_is_file, parse_json

SUMS = 'SHA256SUMS'
CONFIG = 'config.py'
CLASSES = 'classes.json'
WEIGHTS = 'model.safetensors'
METRICS = 'metrics.json'
CARD = 'README.md'


def is_published(name: str) -> bool:
    """Whether a name refers to a published model.

    Args:
        name: A folder whose SHA256SUMS lists a config and weights, or
            ``hf://OWNER/NAME``. Folders of data have such sums, too.
    """
    if name.startswith(hugging_face.PREFIX):
        return True
    path = Path(name).expanduser() / SUMS
    if not path.is_file():
        return False
    listed = re.findall(r'^\w+  (.+)$', path.read_text(errors='replace'), re.M)
    return {CONFIG, WEIGHTS} <= set(listed)


def model_name(name: str) -> str:
    """The name of a published model, without its folder, owner and revision."""
    if name.startswith(hugging_face.PREFIX):
        return hugging_face.split(name)[0].rpartition('/')[2]
    return Path(name).expanduser().resolve().name


class ModelFolder:
    """A published model.

    Args:
        name: The folder, or ``hf://OWNER/NAME[@REVISION]`` to download it from
            Hugging Face once.

    Raises:
        CheckpointError: If it cannot be downloaded, or has no valid SHA256SUMS.
        ModuleNotFoundError: If huggingface_hub or safetensors is needed and missing.
    """

    def __init__(self, name: str) -> None:
        if name.startswith(hugging_face.PREFIX):
            self.path = hugging_face.download(name, (SUMS, CONFIG, CLASSES, WEIGHTS))
        else:
            self.path = Path(name).expanduser()
        self.sums = _read_sums(self.path / SUMS)

    def read_file(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: If the file is missing or cannot be read.
            CheckpointError: If SHA256SUMS does not list it, or it has changed.
        """
        path = self.path / name
        if name not in self.sums:
            raise CheckpointError(
                f'{self.path / SUMS} does not list {name}: copy or download the '
                'folder again'
            )
        check_is_file(path)
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.sums[name]:
            raise CheckpointError(
                f'{path} has the sha256 {found[:8]}..., but {SUMS} says '
                f'{self.sums[name][:8]}...: it is damaged or was changed. Copy or '
                'download the folder again'
            )
        return data

    def config(self) -> Config:
        """The config.

        Raises:
            OSError: If the file is missing.
            CheckpointError: If the file has changed.
            RefusedError: If the config may carry code.
        """
        path = self.path / CONFIG
        settings = inert_config.parse(self.read_file(CONFIG), path)
        inert_config.check(settings, path)
        return Config(settings, filename=str(path))

    def checkpoint(self, map_location: str | torch.device | None = None) -> dict:
        """The weights and the classes, as in a checkpoint of mmengine.

        Args:
            map_location: Device of the weights, by default the CPU.

        Returns:
            ``state_dict``, and ``meta`` with ``dataset_meta``.

        Raises:
            OSError: If a file is missing.
            CheckpointError: If a file has changed or cannot be read.
            ValueError: If a file has other content.
        """
        path = self.path / CLASSES
        known = _fields(
            parse_json(self.read_file(CLASSES), path),
            path,
            classes=each(TEXT, least=0),
            palette=each(each(integer(0, 255)), least=0),
        )
        dataset_meta = dict(known, palette=list(known['palette']))
        return dict(
            meta=dict(dataset_meta=dataset_meta),
            state_dict=self._weights(map_location or 'cpu'),
        )

    def _weights(self, device: str | torch.device) -> dict[str, torch.Tensor]:
        if find_spec('safetensors') is None:
            name = next((name for name in self.sums if name.endswith('.pth')), WEIGHTS)
            path = self.path / name
            content = read(BytesIO(self.read_file(name)), device, str(path))
            return _fields(content, path, state_dict=DICT)['state_dict']
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            weights = load(self.read_file(WEIGHTS))
        except SafetensorError as error:
            raise CheckpointError(
                f'{self.path / WEIGHTS} cannot be read: {error}'
            ) from error
        return {key: value.to(device) for key, value in weights.items()}


def _fields(content: Any, path: Path, **kinds: Kind) -> dict[str, Any]:
    """Fields of what a file contains, checked and converted."""
    check(str(path), dict(content=content), dict(content=DICT))
    return check(str(path), {name: content.get(name) for name in kinds}, kinds)


def _read_sums(path: Path) -> dict[str, str]:
    """The sha256 of each file, by its name."""
    if not path.is_file():
        raise CheckpointError(
            f'{path.parent} is not a published model: it has no file {path.name}. '
            'Give a checkpoint, a config or a folder that tools/publish.py wrote'
        )
    sums = {}
    for line in path.read_text(errors='replace').splitlines():
        match = re.fullmatch(r'([0-9a-f]{64})  ([^/\\]+)', line)
        if match is None:
            raise CheckpointError(
                f'{path}: expected a sha256, two spaces and a file name in each line, '
                f'found {line[:80]!r}'
            )
        sums[match[2]] = match[1]
    return sums
