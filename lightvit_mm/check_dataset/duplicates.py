"""Image files with the same content."""

from collections.abc import Iterator

from mmengine.config import Config

from ..config import type_name
from ..nested import walk
from .pictures import ImageFile
from .reading import Files
from .report import Finding, Kind, Report
from .sources import Content, Picture, Source

REPEATED = Kind(
    'images that a dataset holds more than once',
    'Go on if their annotations agree. Otherwise remove all but one of each',
    is_fault=False,
)
LEAKED = Kind(
    'images that are also in the training set',
    'Remove them from one of the sets; the results on them are too good',
    is_fault=False,
)


def check_duplicates(
    cfg: Config, pairs: list[tuple[Source, Content]], files: Files, report: Report
) -> None:
    """Find equal image files in a dataset, and in train and another split.

    Args:
        cfg: The config of the datasets.
        pairs: The datasets and their contents.
        files: What their images hold.
        report: Receives the findings.
    """
    for source, content in pairs:
        report.add(source.name, _repeated(content, files))
    # Folds of one dataset share its files.
    if any(type_name(x) == 'KFoldDataset' for x in walk(cfg.get('train_dataloader'))):
        return
    trained = {
        file.digest: picture.path
        for source, content in pairs
        if source.is_trained
        for picture, file in _files(content, files)
    }
    for source, content in pairs:
        if source.splits != ['train']:
            report.add(
                ', '.join(x for x in source.splits if x != 'train'),
                (
                    Finding(LEAKED, picture.path, f'in train as {trained[file.digest]}')
                    for picture, file in _files(content, files)
                    if file.digest in trained
                ),
            )


def _repeated(content: Content, files: Files) -> Iterator[Finding]:
    first: dict[bytes, Picture] = {}
    for picture, file in _files(content, files):
        other = first.setdefault(file.digest, picture)
        if other is not picture:
            yield Finding(
                REPEATED,
                picture.path,
                f'{picture.entry}, the same file as {other.path} ({other.entry})',
            )


def _files(content: Content, files: Files) -> Iterator[tuple[Picture, ImageFile]]:
    """The images of a dataset that can be read."""
    for picture in content.pictures:
        file = files[picture.path, content.image_reader]
        if isinstance(file, ImageFile):
            yield picture, file
