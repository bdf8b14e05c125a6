"""What mmengine uses of ``pkg_resources``, on ``importlib.metadata``.

Imported under the name ``pkg_resources``, where setuptools no longer has it
(see :mod:`lightvit_mm.compat`).
"""

from importlib import metadata

DistributionNotFound = metadata.PackageNotFoundError


class Distribution:
    """An installed distribution.

    Args:
        name (str): The distribution's name, e.g. ``'mmcv-lite'``.

    Raises:
        DistributionNotFound: No distribution of this name is installed.
    """

    def __init__(self, name: str) -> None:
        self._distribution = metadata.distribution(name)

    @property
    def project_name(self) -> str:
        return self._distribution.metadata['Name']

    @property
    def version(self) -> str:
        return self._distribution.version

    @property
    def location(self) -> str:
        """The folder that holds the distribution's packages."""
        return str(self._distribution.locate_file(''))

    def has_metadata(self, name: str) -> bool:
        """Whether the distribution has a metadata file of this name."""
        return self._distribution.read_text(name) is not None

    def get_metadata(self, name: str) -> str:
        """The text of a metadata file, e.g. ``'top_level.txt'``.

        Raises:
            FileNotFoundError: The distribution has no such file.
        """
        text = self._distribution.read_text(name)
        if text is None:
            raise FileNotFoundError(
                f'{self.project_name} {self.version} has no metadata file {name!r}'
            )
        return text


def get_distribution(name: str) -> Distribution:
    """The installed distribution of this name.

    Raises:
        DistributionNotFound: No distribution of this name is installed.
    """
    return Distribution(name)
