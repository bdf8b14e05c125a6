"""Downloads published models from Hugging Face: ``hf://OWNER/NAME[@REVISION]``."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .safe_load import CheckpointError

PREFIX = 'hf://'
EXTRA = 'pip install "lightvit_mm[hub]"'


def split(address: str) -> tuple[str, str | None]:
    """The repository and the revision in an address.

    Args:
        address: ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``, where the
            revision is a branch, a tag or a commit.

    Returns:
        OWNER/NAME and the revision, None if there is none.

    Raises:
        ValueError: If the address has another form.
    """
    match = re.fullmatch(rf'{PREFIX}([^/@\s]+/[^/@\s]+)(?:@(\S+))?', address)
    if match is None:
        raise ValueError(
            f'{address!r} should be hf://OWNER/NAME or hf://OWNER/NAME@REVISION'
        )
    return match[1], match[2]


def download(address: str, files: Sequence[str]) -> Path:
    """Download files of a repository, once, to huggingface_hub's cache.

    Args:
        address: As for :func:`split`.
        files: Their names.

    Returns:
        The folder with those of the files that the repository has.

    Raises:
        ModuleNotFoundError: If huggingface_hub or safetensors is missing.
        ValueError: If the address has another form.
        CheckpointError: If the repository cannot be downloaded.
    """
    repository, revision = split(address)
    for module in ('huggingface_hub', 'safetensors'):
        if find_spec(module) is None:
            raise ModuleNotFoundError(f'{address} needs {module}: {EXTRA}')
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(files)
        )
    # Errors of HTTP and of the cache are an OSError, those about names a ValueError.
    except (OSError, ValueError) as error:
        reason = ' '.join(str(error).split())[:300]
        raise CheckpointError(
            f'{address} could not be downloaded ({type(error).__name__}: {reason}). '
            'Check the name, or download the repository elsewhere and give its folder'
        ) from error
    return Path(folder)
