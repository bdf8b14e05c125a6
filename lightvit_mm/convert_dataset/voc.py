"""Pascal VOC: one XML file per image, as VOC itself and LabelImg write it."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .records import Dataset, Image, Object
from .source import IN_NO_LIST, Source, image_sets, image_size, naming, split_of


def is_voc(path: Path) -> bool:
    """Whether an XML file is an annotation of VOC.

    Raises:
        ValueError: If it is not XML.
    """
    return _parse(path).tag == 'annotation'


def read(source: Source) -> Dataset:
    """Read the XML files of VOC.

    VOC numbers pixels from 1, and a box includes its last pixel: x = xmin - 1
    and width = xmax - xmin + 1, as in Detectron2. Objects that are marked as
    difficult become crowds, which training and evaluation ignore. The split is
    that of ImageSets/Main/train.txt and val.txt, or of the folders.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If an XML file is invalid, or an image has another size.
    """
    lists = image_sets(source, 'Main')
    dataset = Dataset()
    for path in source.having('.xml'):
        root = _parse(path)
        if root.tag != 'annotation':
            continue
        split = split_of(path.relative_to(source.root))
        if lists:
            split = lists.get(path.stem, IN_NO_LIST)
        file = _find_image(source, path, root, split)
        with naming(f'{path}: size'):
            declared = [
                int(root.findtext(f'size/{x}') or 0) for x in ('width', 'height')
            ]
        size = image_size(file, declared, str(path))
        objects = []
        for i, item in enumerate(root.iterfind('object')):
            entry = f'{path}: object {i}'
            objects.append(_object(item, entry))
            if item.find('part') is not None:
                dataset.notes['left out: parts of objects'].append(entry)
        dataset.images.append(Image(file, str(path), split, size, objects))
    return dataset


def _find_image(source: Source, path: Path, root: Element, split: str | None) -> Path:
    # VOC and mmdet go by the name of the XML file; an image may have been renamed.
    # But VOC has masks of the same name and another suffix.
    filename = root.findtext('filename') or path.stem
    names = [filename, path.stem]
    if Path(filename).stem != path.stem:
        names.reverse()
    try:
        return source.find_image(names[0], path, split)
    except FileNotFoundError:
        return source.find_image(names[1], path, split)


def _object(item: Element, entry: str) -> Object:
    name = (item.findtext('name') or '').strip()
    if not name:
        raise ValueError(f'{entry} has no name')
    corners = []
    for field in ('xmin', 'ymin', 'xmax', 'ymax'):
        text = item.findtext(f'bndbox/{field}')
        try:
            corners.append(float(text or ''))
        except ValueError:
            raise ValueError(
                f'{entry} ({name}): bndbox/{field} should be a number, but is {text!r}'
            ) from None
    x1, y1, x2, y2 = corners
    box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
    is_difficult = (item.findtext('difficult') or '0').strip() not in ('0', 'false')
    return Object(name, entry, box, is_crowd=is_difficult)


def _parse(path: Path) -> Element:
    """The root of an XML file.

    A document type could declare entities that expand to gigabytes.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise ValueError(f'{path} has a <!DOCTYPE>, which VOC does not use. Remove it')

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f'{path} is not XML: {error}') from error
    return builder.close()
