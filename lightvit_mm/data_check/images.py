"""Image files that are not there, broken, turned or of another size."""

from collections.abc import Iterator

from .content import Content, Picture
from .files import ImageFile, Reader, read_image
from .findings import Finding, Kind
from .sources import Source, type_name

MISSING = Kind(
    'images that are not there',
    'See whether data_root and data_prefix of the data set are right, and '
    'the names in its annotations',
)
BROKEN = Kind(
    'images that cannot be decoded',
    'Copy or store them again; a part of each may be lost',
)
TURNED = Kind(
    'images turned by EXIF, annotations not',
    "Set color_type='color_ignore_orientation' in LoadImageFromFile, or store "
    'the images upright, without the tag, where the annotations fit',
)
MAYBE_TURNED = Kind(
    'images turned by EXIF',
    'Their size does not tell whether the annotations are turned as well; '
    'look at them with --show-dir. If they do not fit, set '
    "color_type='color_ignore_orientation' in LoadImageFromFile",
    is_fault=False,
)
OTHER_SIZE = Kind(
    'images of another size than annotated',
    'Annotate the images as they are, or restore their size: boxes and masks '
    'do not fit them',
)


def reader_of(source: Source) -> Reader | None:
    """What reads the images of a data set; None for what is no picture."""
    is_picture = type_name(source.loader()) == 'LoadImageFromFile'
    return read_image if is_picture else None


def check_images(
    source: Source, content: Content, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    """What is wrong with the images of a data set.

    Args:
        source: The data set.
        content: What was read of it.
        files: What is in the files of its images and maps.
    """
    for picture in content.pictures:
        file = files[picture.path]
        if file.is_missing:
            yield Finding(MISSING, picture.path, picture.entry)
        elif file.error:
            yield Finding(BROKEN, picture.path, f'{picture.entry}, {file.error}')
        elif file.size is not None:
            yield from _check_size(source, picture, file, files)


def _check_size(
    source: Source, picture: Picture, file: ImageFile, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    annotated = picture.size
    if picture.mask is not None:
        annotated = files[picture.mask].size or annotated
    if annotated is None:
        return
    turns = file.orientation != 1 and _turns(source)
    loaded = file.size[::-1] if turns and file.orientation >= 5 else file.size
    entry = f'{picture.entry}, orientation {file.orientation}'
    if loaded != annotated:
        sizes = f'annotated {_text(annotated)}, loaded {_text(loaded)}'
        if turns and file.size == annotated:
            yield Finding(TURNED, picture.path, f'{entry}, {sizes}')
        else:
            yield Finding(OTHER_SIZE, picture.path, f'{picture.entry}, {sizes}')
    elif turns and file.size == loaded:
        yield Finding(MAYBE_TURNED, picture.path, entry)


def _turns(source: Source) -> bool:
    """Whether the images are turned as EXIF says, see mmcv.imread."""
    loader = source.loader()
    return loader.get('color_type', 'color') in ('color', 'grayscale') and loader.get(
        'imdecode_backend', 'cv2'
    ) in ('cv2', 'pillow')


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'
