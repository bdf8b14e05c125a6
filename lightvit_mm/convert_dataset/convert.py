"""From the folder of a labelling tool to the folder that a runner reads."""

import os
from collections import Counter, defaultdict
from pathlib import Path

from ..engine.folders.splits import SPLITS
from ..files import new_folder
from .formats import FOLDERS, FORMATS, detect
from .records import Annotations, Dataset, Image
from .source import Source, naming
from .split import choose_val
from .summary import summarize
from .write import write


def convert(
    source: Path,
    out: Path,
    val: float | None = None,
    seed: int = 0,
    format_: str | None = None,
    attribute: str | None = None,
    crowds_as_objects: bool = False,
) -> str:
    """Convert a dataset, and split it if it has no split.

    Args:
        source: The folder of the dataset; it is not changed.
        out: The folder for the result, new or empty.
        val: The part of the images for val, between 0 and 1. Needed if the
            dataset has no split, otherwise an error.
        seed: Seed of the split.
        format_: A name of ``FORMATS``. None: detected.
        attribute: For VIA, the attribute that is the class.
        crowds_as_objects: Whether crowds, which training ignores, become objects.

    Returns:
        What was written and left out, as text.

    Raises:
        OSError: If a file is missing, or ``out`` is not empty.
        ValueError: If the dataset is invalid, or an option does not fit it.
    """
    if val is not None and not 0 < val < 1:
        raise ValueError(f'--val {val:g} should be between 0 and 1, such as 0.2')
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f'{out} is in {source}, which should not change')
    files = Source(source)
    format_ = format_ or detect(files)
    if attribute is not None and format_ != 'via':
        raise ValueError(f'--attribute is for VIA, but {source} has format {format_}')
    options = {} if attribute is None else dict(attribute=attribute)
    dataset = FORMATS[format_].read(files, **options)
    if not dataset.images:
        raise ValueError(f'{source} has no image of format {format_}')
    _check_unique(dataset)
    if format_ not in FOLDERS:
        _note_unlisted(dataset, files)
    _leave_out_tests(dataset)
    annotations = _annotations(dataset, format_, crowds_as_objects)
    names = _names(dataset.images)
    _split(dataset.images, names, source, val, seed)
    with new_folder(out) as draft:
        write(dataset, names, annotations, draft)
    return summarize(dataset, format_, out)


def _annotations(
    dataset: Dataset, format_: str, crowds_as_objects: bool
) -> Annotations | None:
    if format_ in FOLDERS:
        if crowds_as_objects:
            raise ValueError(f'--crowds-as-objects: format {format_} has no crowds')
        return None
    # It needs pycocotools, which comes with mmdet; a classifier does not need it.
    from .annotations import annotate

    return annotate(dataset, crowds_as_objects)


def _check_unique(dataset: Dataset) -> None:
    owners: dict[Path, Image] = {}
    for image in dataset.images:
        for path in filter(None, (image.path, image.mask)):
            other = owners.setdefault(path.resolve(), image)
            if other is not image:
                raise ValueError(
                    f'{path} is in {other.entry} and in {image.entry}. Keep one of them'
                )
    twice = [x for x, count in Counter(dataset.classes or ()).items() if count > 1]
    if twice:
        raise ValueError(f'Classes need unique names, but some occur twice: {twice}')


def _note_unlisted(dataset: Dataset, files: Source) -> None:
    listed = {image.path.resolve() for image in dataset.images}
    unlisted = [str(path) for path in files.images if path.resolve() not in listed]
    if unlisted:
        dataset.notes['left out: images that are not annotated'] = unlisted


def _leave_out_tests(dataset: Dataset) -> None:
    """Keep train and val; without both of them the images have no split."""
    splits = {image.split for image in dataset.images}
    kept = []
    for image in dataset.images:
        if image.split in (*SPLITS, None):
            kept.append(image)
        else:
            dataset.notes[f'left out: images of {image.split}'].append(str(image.path))
    if not splits.issuperset(SPLITS):
        for image in kept:
            image.split = None
    dataset.images = kept
    if not kept:
        raise ValueError(
            'There are only images of test: rename its folder or list to train'
        )


def _names(images: list[Image]) -> dict[Image, str]:
    """The path of each image in the folder of its split or its class."""
    groups = defaultdict(list)
    for image in images:
        groups[image.split, image.label].append(image)
    names = {}
    for group in groups.values():
        root = os.path.commonpath([image.path.parent for image in group])
        for image in group:
            names[image] = image.path.relative_to(root).as_posix()
    return names


def _split(
    images: list[Image],
    names: dict[Image, str],
    source: Path,
    val: float | None,
    seed: int,
) -> None:
    """Set the split of each image, for each class of images on its own."""
    missing = [image for image in images if image.split is None]
    if not missing:
        if val is not None:
            raise ValueError(f'{source} has train and val already: leave out --val')
        return
    if len(missing) < len(images):
        raise ValueError(
            f'{missing[0].entry} is neither in train nor in val, but other images of '
            f'{source} are. Move it to one of them'
        )
    if val is None:
        raise ValueError(
            f'{source} does not have both train and val. Give the part of the images '
            'for val, such as --val 0.2'
        )
    for label in {image.label for image in images}:
        group = {names[image]: image for image in images if image.label == label}
        with naming(f'class {label}' if label else str(source)):
            classes = {name: image.classes for name, image in group.items()}
            chosen = choose_val(classes, val, seed)
        for name, image in group.items():
            image.split = 'val' if name in chosen else 'train'
