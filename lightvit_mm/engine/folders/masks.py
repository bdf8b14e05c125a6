"""Folders of images, masks and classes.txt, for segmentation."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...files import IMAGE_SUFFIXES, files_below, read_text
from .splits import SET_DATA_ROOT, split_it

# Pixels of this class are ignored in training and evaluation.
VOID = 'void'
# Formats that keep each value.
MASK_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')

# A number, a colour as #rrggbb or R,G,B, or nothing; then the name.
_LINE = re.compile(
    r'(?:(?P<value>\d+)|(?P<hex>#[0-9a-fA-F]{6})|(?P<rgb>\d+ *, *\d+ *, *\d+)) *: *'
    r'(?P<name>.*)'
)
# Other notations of a value and a name, such as '3 road', '3, road' and 'road: 3'.
_OTHER_NOTATION = re.compile(
    r'[(\[]?\d[\d\s,.;:=|()\[\]]*[\s,;:=|)\]]\D.*|.*\S\s*[\t,;:=|]\s*\d+'
)


class MaskClasses(NamedTuple):
    """What classes.txt says.

    Args:
        names: Names of the values of a mask. ``VOID`` may occur several times.
        values: The values: numbers, or colours as '#rrggbb'. None: 0, 1 and so on.
    """

    names: list[str]
    values: list[int] | list[str] | None

    @property
    def classes(self) -> list[str]:
        """The names of the classes that a model learns."""
        return [name for name in self.names if name != VOID]

    @property
    def needs_lookup(self) -> bool:
        """Whether some values are not bytes, which mmseg's LoadAnnotations needs."""
        return any(type(x) is str or x > 255 for x in self.values or ())


def read_mask_classes(path: Path) -> MaskClasses:
    """Read the names of the values of a mask.

    Each line is 'NAME', which names the values 0, 1 and so on, or each is
    'VALUE: NAME', or each is '#rrggbb: NAME' or 'R,G,B: NAME'.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither UTF-8 nor UTF-16, mixes these kinds of lines,
            writes values in another way, has comments, names a value or a class
            twice, or has fewer than two classes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no {path}. Write it with the names of the classes, one '
            'per line: the first line names the mask value 0, the next one 1. '
            f'The name {VOID} ignores a value. Or set data_root, for example '
            'with --cfg-options data_root=FOLDER, to the folder that has the '
            'file.'
        )
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if '' in lines:
        raise ValueError(
            f'Line {lines.index("") + 1} of {path} is empty, but should name '
            f'the mask value {lines.index("")}; write {VOID} to ignore it'
        )
    classes = _parse(lines, path)
    _check_names(classes.classes, path)
    return classes


def _parse(lines: list[str], path: Path) -> MaskClasses:
    matches = [_LINE.fullmatch(line) for line in lines]
    for number, (line, match) in enumerate(zip(lines, matches), start=1):
        if match is None and line.startswith('#'):
            raise ValueError(
                f'Line {number} of {path} is {line!r}: after # should be a colour of '
                'six digits and a name, as in "#ff8000: road". Remove comments'
            )
    if not any(matches):
        if lines and all(map(_OTHER_NOTATION.fullmatch, lines)):
            raise ValueError(
                f'Line 1 of {path} is {lines[0]!r} and the other lines have numbers, '
                'too. If they are values or colours, write VALUE: NAME such as '
                '"255: road", or "255,128,0: road". If they belong to the names, '
                'write the values, too'
            )
        return MaskClasses(lines, None)
    kind = matches[0] and (matches[0]['value'] is None)
    for number, (line, match) in enumerate(zip(lines, matches), start=1):
        if match is None or (match['value'] is None) != kind:
            raise ValueError(
                f'Line {number} of {path} is {line!r}, but all lines should be NAME, '
                'or all VALUE: NAME such as "255: road", or all COLOUR: NAME such as '
                '"#ff8000: road" or "255,128,0: road"'
            )
    values = [_value(match, path) for match in matches]
    twice = {str(value) for value in values if values.count(value) > 1}
    if twice:
        raise ValueError(
            f'{path} has these values more than once: {", ".join(sorted(twice))}. '
            'Each value needs one line'
        )
    names = [match['name'] for match in matches]
    if '' in names:
        raise ValueError(
            f'Line {names.index("") + 1} of {path} has no name; write {VOID} to '
            'ignore the value'
        )
    return MaskClasses(names, values)


def _value(match: re.Match, path: Path) -> int | str:
    if match['hex']:
        return match['hex'].lower()
    numbers = [int(number) for number in (match['value'] or match['rgb']).split(',')]
    largest = 65535 if match['value'] else 255
    if max(numbers) > largest:
        raise ValueError(
            f'{path} has the value {max(numbers)} in {match[0]!r}, expected 0 to '
            f'{largest}'
        )
    if match['value']:
        return numbers[0]
    return '#' + ''.join(f'{number:02x}' for number in numbers)


def _check_names(classes: list[str], path: Path) -> None:
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(
            f'{path} has these names more than once: {", ".join(twice)}. Each '
            'class needs a unique name'
        )
    if len(classes) < 2:
        raise ValueError(
            f'{path} should name two classes or more apart from {VOID}, but '
            f'names {", ".join(classes) or "none"}. Name the background as a '
            'class, too, to separate objects from it'
        )


def pair_masks(
    images: Path,
    masks: Path,
    image_suffixes: Sequence[str] = IMAGE_SUFFIXES,
    mask_suffixes: Sequence[str] = MASK_SUFFIXES,
) -> list[tuple[Path, Path]]:
    """Each image of a folder with its mask, which has the same name before the suffix.

    Both may be in folders of any depth. Hidden files and folders are left out.

    Args:
        images: Folder of the images.
        masks: Folder of the masks.
        image_suffixes: Ends of the names of images, in lower case.
        mask_suffixes: Ends of the names of masks, in lower case.

    Raises:
        FileNotFoundError: If there is no image, or an image has no mask.
        ValueError: If two images or two masks have the same name, or a mask is
            a JPEG.
    """
    found = _by_stem(images, image_suffixes)
    if not found:
        # The folder of a dataset holds img_dir/train.
        hint = (
            '' if images.is_dir() else ' Not split yet? ' + split_it(images.parents[1])
        )
        raise FileNotFoundError(
            f'There is no image ({", ".join(image_suffixes)}) in {images}. '
            f'{SET_DATA_ROOT}a folder with images in img_dir/train and img_dir/val '
            f'and their masks in ann_dir/train and ann_dir/val.{hint}'
        )
    of_stem = _by_stem(masks, mask_suffixes)
    missing = [stem for stem in found if stem not in of_stem]
    if missing:
        jpegs = _by_stem(masks, ('.jpg', '.jpeg'))
        if missing[0] in jpegs:
            raise ValueError(
                f'{jpegs[missing[0]]} is a JPEG, which changes the values of a mask: '
                f'export the masks as {", ".join(mask_suffixes)}'
            )
        raise FileNotFoundError(
            f'{len(missing)} of the {len(found)} images in {images} have no '
            f'mask; the first missing mask is {masks / missing[0]}{mask_suffixes[0]}'
            f'{_other_name(missing[0], of_stem)}'
        )
    return [(image, of_stem[stem]) for stem, image in sorted(found.items())]


def _other_name(stem: str, masks: dict[str, Path]) -> str:
    """A clause that shows a mask whose name starts with that of an image."""
    for name, mask in sorted(masks.items()):
        if name.startswith(f'{stem}_'):
            return (
                f'. There is {mask.name}: rename it to {Path(stem).name}{mask.suffix}'
            )
    return ''


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files with these suffixes, by their path in the folder without suffix."""
    files: dict[str, Path] = {}
    for file in files_below(folder):
        # The longest, if one ends with another.
        ends = [suffix for suffix in suffixes if file.name.lower().endswith(suffix)]
        if not ends:
            continue
        stem = file.relative_to(folder).as_posix()[: -len(max(ends, key=len))]
        if stem in files:
            raise ValueError(
                f'{files[stem]} and {file} have the same name before the suffix: '
                'rename or remove one of them'
            )
        files[stem] = file
    return files
