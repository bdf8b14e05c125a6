"""Downloads published models from Hugging Face: ``hf://OWNER/NAME[@REVISION]``."""

import re
from functools import cache
from pathlib import Path

from .installed import check_installed
from .safe_load import CheckpointError

PREFIX = 'hf://'


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


@cache
def download(address: str, files: tuple[str, ...]) -> Path:
    """Download files of a repository, once, to huggingface_hub's cache.

    In one process, an address is always the same commit. Otherwise, the config and
    the weights could be of different ones.

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
        check_installed(module)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(files)
        )
    # Errors of the cache are an OSError, those about names a ValueError.
    except (HTTPError, OSError, ValueError) as error:
        reason = ' '.join(str(error).split())[:300]
        raise CheckpointError(
            f'{address} could not be downloaded ({type(error).__name__}: {reason}). '
            'Check the name, or download the repository elsewhere and give its folder'
        ) from error
    return Path(folder)
