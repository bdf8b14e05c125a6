"""What is known about the configs of this package: ``configs/metafile.yml``."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from .files import ROOT, PathLike

PATH = ROOT / 'configs/metafile.yml'


@cache
def entries() -> list[dict[str, Any]]:
    """What the file says about each config, with OpenMMLab's keys."""
    return yaml.safe_load(PATH.read_text(encoding='utf-8'))['Models']


def find(config: PathLike) -> dict[str, Any] | None:
    """The entry of a config of this package, None for any other file."""
    path = Path(config).resolve()
    for entry in entries():
        if (ROOT / entry['Config']).resolve() == path:
            return entry
    return None


def published_weights(cfg: Config) -> str | None:
    """The address of the published weights of a config, such as lightvit://tiny-in1k.

    None if there are none.
    """
    return (find(cfg.filename) or {}).get('Weights')
