"""VGG Image Annotator (VIA), versions 1 and 2: projects, JSON and CSV exports.

The layout is that of via.js: ``_via_img_metadata`` of a project is what the JSON
export contains.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ..files import read_json, read_text
from .records import Dataset, Image, Object
from .shapes import ellipse, polygon
from .source import Source, image_size, naming, split_of

# If no region has an attribute, there is nothing to tell them apart.
ONLY_CLASS = 'object'


def is_via(content: Any) -> bool:
    """Whether the content of a JSON file is VIA's."""
    if not isinstance(content, dict):
        return False
    entries = content.get('_via_img_metadata', content)
    return (
        isinstance(entries, dict)
        and bool(entries)
        and all(
            isinstance(entry, dict) and {'filename', 'regions'} <= entry.keys()
            for entry in entries.values()
        )
    )


def is_via_csv(path: Path) -> bool:
    """Whether a CSV file is VIA's."""
    with path.open('rb') as file:
        return b'region_shape_attributes' in file.readline()


def read(source: Source, attribute: str | None = None) -> Dataset:
    """Read the regions that VIA has saved.

    Args:
        source: The folder.
        attribute: The attribute of a region that is its class. None: the only
            one that regions have.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If a region is invalid or has no class.
    """
    files = {}
    for path in source.having('.json'):
        content = read_json(path)
        if is_via(content):
            files[path] = content
    for path in source.having('.csv'):
        if is_via_csv(path):
            with naming(str(path)):
                files[path] = _read_csv(path)

    entries = [
        (path, entry)
        for path, content in files.items()
        for entry in content.get('_via_img_metadata', content).values()
    ]
    names = _class_names(files, _attribute(entries, attribute))
    dataset = Dataset()
    for path, entry in entries:
        split = split_of(path.relative_to(source.root))
        file = source.find_image(entry['filename'], path, split)
        size = image_size(file)
        objects = []
        for i, region in enumerate(_regions(entry)):
            place = f'{path}: {entry["filename"]}: region {i}'
            with naming(place):
                name = names(region['region_attributes'])
                item = _object(name, region['shape_attributes'], place)
            if item is None:
                kind = region['shape_attributes']['name']
                dataset.notes[f'left out: regions of shape {kind}'].append(place)
            else:
                objects.append(item)
        dataset.images.append(
            Image(file, f'{path}: {entry["filename"]}', split, size, objects)
        )
    return dataset


def _regions(entry: dict) -> list[dict]:
    regions = entry['regions']
    return list(regions.values()) if isinstance(regions, dict) else regions


def _read_csv(path: Path) -> dict:
    """The entries of a CSV export, as the JSON export has them."""
    entries: dict[str, dict] = {}
    text = read_text(path).removeprefix('#')  # VIA 1 writes #filename
    for row in csv.DictReader(io.StringIO(text)):
        entry = entries.setdefault(
            row['filename'], dict(filename=row['filename'], regions=[])
        )
        shape = json.loads(row['region_shape_attributes'])
        if shape:  # {}: an image without regions
            entry['regions'].append(
                dict(
                    shape_attributes=shape,
                    region_attributes=json.loads(row['region_attributes']),
                )
            )
    return entries


def _attribute(entries: list[tuple[Path, dict]], chosen: str | None) -> str | None:
    used = sorted(
        {
            name
            for _, entry in entries
            for region in _regions(entry)
            for name in region.get('region_attributes', {})
        }
    )
    if chosen is None and len(used) > 1:
        raise ValueError(
            f'Regions have the attributes {", ".join(used)}. Name the one that is '
            'the class: --attribute NAME'
        )
    if chosen is not None and chosen not in used:
        raise ValueError(
            f'--attribute {chosen}: regions have only {", ".join(used) or "none"}'
        )
    return chosen or (used[0] if used else None)


def _class_names(files: dict[Path, dict], attribute: str | None) -> Any:
    """A function from the attributes of a region to its class."""
    # A dropdown or a radio button stores the id of an option.
    options: dict[str, str] = {}
    for content in files.values():
        declared = content.get('_via_attributes', {}).get('region', {})
        options.update(declared.get(attribute, {}).get('options') or {})

    def name(attributes: dict) -> str:
        if attribute is None:
            return ONLY_CLASS
        value = attributes.get(attribute)
        if isinstance(value, dict):  # checkboxes
            value = ' and '.join(option for option, on in value.items() if on)
        value = str(value or '').strip()
        if not value:
            raise ValueError(f'its {attribute!r} is empty; set it in VIA')
        return options.get(value) or value

    return name


def _object(name: str, shape: dict, entry: str) -> Object | None:
    kind = shape['name']
    if kind == 'rect':
        box = (shape['x'], shape['y'], shape['width'], shape['height'])
        return Object(name, entry, box=tuple(map(float, box)))
    if kind == 'polygon':
        xs, ys = shape['all_points_x'], shape['all_points_y']
        if len(xs) != len(ys):
            raise ValueError('different numbers of x and y')
        return Object(name, entry, segmentation=[polygon(zip(xs, ys))])
    if kind == 'circle':
        radii = (shape['r'], shape['r'])
    elif kind == 'ellipse':
        radii = (shape['rx'], shape['ry'])
    else:
        return None
    mask = ellipse(shape['cx'], shape['cy'], *radii, shape.get('theta', 0))
    return Object(name, entry, segmentation=[mask])
