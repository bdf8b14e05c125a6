"""The files of a dataset: looked up, read and measured."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import mmcv
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from ..engine.folders.splits import SPLIT_NAMES, SPLITS
from ..files import files_below, is_image, read_text
from .records import Size

# The split of images that VOC's lists leave out.
IN_NO_LIST = 'neither train.txt nor val.txt'

_SPLITS = dict(SPLIT_NAMES, test='test')


class Source:
    """A folder, with the files in it and below; hidden ones do not count.

    Args:
        root: The folder.

    Raises:
        FileNotFoundError: If there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f'{root} is no folder. Unpack archives first')
        self.root = root
        self.files = list(files_below(root))

    def having(self, *suffixes: str) -> list[Path]:
        """The files with one of these suffixes, in lower or upper case."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    @functools.cached_property
    def images(self) -> list[Path]:
        """The image files."""
        return [path for path in self.files if is_image(path.name)]

    @functools.cached_property
    def _images_by_name(self) -> dict[str, list[Path]]:
        names, stems = defaultdict(list), defaultdict(list)
        for path in self.images:
            names[path.name].append(path)
            stems[path.stem].append(path)
        return {**stems, **names}

    @functools.cached_property
    def _images_by_place(self) -> dict[tuple[Path, str], list[Path]]:
        found = defaultdict(list)
        for path in self.images:
            found[path.parent, path.stem].append(path)
        return dict(found)

    def images_at(self, folder: Path, stem: str) -> list[Path]:
        """The images in a folder that have a name, whatever their suffix."""
        return self._images_by_place.get((folder, stem), [])

    def find_image(self, name: str, entry: Path, split: str | None = None) -> Path:
        r"""The image that an annotation file means.

        The folders of a name may be those of another computer. Among images of
        the same name, the one counts that shares most folders with ``name``,
        then the one in the folder of the split, then the one that is nearest to
        the annotation file.

        Args:
            name: A path with / or \\ whose last part is the file's name, with or
                without its suffix.
            entry: The annotation file.
            split: 'train' or 'val' if it is known.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If several could be meant.
        """
        parts = PurePosixPath(name.replace('\\', '/')).parts
        found = self._images_by_name.get(parts[-1], []) if parts else []
        if not found:
            raise FileNotFoundError(
                f'{entry}: there is no image {name!r} in {self.root} or below'
                + self._near_misses(parts[-1] if parts else '')
            )

        def score(path: Path) -> tuple[int, bool, int]:
            folders = [part for part in parts[:-1] if part not in ('.', '..')]
            return (
                _common(reversed(path.parent.parts), reversed(folders)),
                split is not None and split_of(path.relative_to(self.root)) == split,
                _common(path.parent.parts, entry.parent.parts),
            )

        best = max(map(score, found))
        found = [path for path in found if score(path) == best]
        if len(found) > 1:
            raise ValueError(
                f'{entry}: the image {name!r} could be {" or ".join(map(str, found))}'
                '. Rename one of them, or remove it if it is a copy'
            )
        return found[0]

    def _near_misses(self, name: str) -> str:
        same = [x for x in self._images_by_name if x.lower() == name.lower()]
        return f', but {", ".join(same)}: names must match in case' if same else ''


def _common(first: Any, second: Any) -> int:
    """The number of equal items at the beginning."""
    count = 0
    for a, b in zip(first, second):
        if a != b:
            break
        count += 1
    return count


def split_of(path: PurePosixPath | Path) -> str | None:
    """The split that a path's folders name: 'train', 'val', 'test' or None."""
    for part in path.parts[:-1]:
        split = split_called(part)
        if split:
            return split
    return None


def split_called(name: str) -> str | None:
    """The split of a name such as train, valid or val2017; None if it is none."""
    return _SPLITS.get(re.sub(r'\d+$', '', name.lower()))


def split_of_name(name: str) -> str | None:
    """The split that a file's name contains, as in instances_train2017.json."""
    for word in re.findall('[a-z]+', name.lower()):
        if word in _SPLITS:
            return _SPLITS[word]
    return None


def image_sets(source: Source, task: str) -> dict[str, str]:
    """The split of each image in VOC's lists; empty without train and val.

    Args:
        source: The dataset.
        task: The folder of the lists in ImageSets, such as Main.

    Raises:
        ValueError: If an image is in several lists.
    """
    splits: dict[str, str] = {}
    for path in source.having('.txt'):
        split = split_called(path.stem)
        if split and path.parent.parts[-2:] == ('ImageSets', task):
            for name in filter(None, map(str.strip, read_text(path).splitlines())):
                if splits.setdefault(name, split) != split:
                    raise ValueError(
                        f'{path}: {name} is also in the list of {splits[name]}. Remove '
                        'it from one of them'
                    )
    return splits if set(SPLITS) <= set(splits.values()) else {}


@contextmanager
def naming(entry: str) -> Iterator[None]:
    """Name an entry in the errors about its content.

    Raises:
        ValueError: In place of the errors that wrong content leads to.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f'{entry} has no {error}') from error
    # RecursionError: JSON that is nested too deeply.
    except (
        AttributeError,
        IndexError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f'{entry}: {error}') from error


def image_size(path: Path, declared: Any = None, entry: str = '') -> Size:
    """Width and height of an image as training loads it: rotated as EXIF says.

    Args:
        path: The image file.
        declared: Width and height in the annotations; None or 0 for unknown ones.
        entry: What declares it, for the message.

    Raises:
        ValueError: If the file is not an image, or its size is not the declared one.
    """
    size, is_rotated = _image_size(path)
    if declared and all(declared) and tuple(map(int, declared)) != size:
        fix = (
            'EXIF rotates it. If it was labelled as it is stored, remove its EXIF '
            'orientation'
            if is_rotated
            else 'Restore the image that was labelled'
        )
        raise ValueError(
            f'{entry}: the image should be {_text(declared)} pixels, but {path} is '
            f'{_text(size)}. {fix}'
        )
    return size


def _image_size(path: Path) -> tuple[Size, bool]:
    try:
        with PillowImage.open(path) as image:
            if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return image.size, False
    except (UnidentifiedImageError, PillowImage.DecompressionBombError):
        pass  # Pillow does not know the format or finds it too large: decode it.
    content = path.read_bytes()
    image = mmcv.imfrombytes(content) if content else None
    if image is None:
        raise ValueError(f'{path} cannot be read as an image')
    return image.shape[1::-1], True


def _text(size: Any) -> str:
    return f'{size[0]} x {size[1]}'
