"""Checks the datasets of a config, and its heads against them."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import DATASETS, Registry

from ..config import SPLITS, class_slots, learns_classes
from ..installed import check_installed
from ..messages import listed
from . import any_dataset, coco
from .class_names import check_class_names
from .duplicates import check_duplicates
from .maps import check_maps, ignored_labels, map_objects, map_tasks
from .occurrence import check_nowhere, check_trained
from .pictures import check_images, image_reader, image_tasks
from .reading import read_files
from .report import Finding, Kind, Report
from .sources import Content, Source, find_sources
from .table import image_sizes, tables

OTHER_CLASSES = Kind(
    "datasets whose classes differ from the training set's",
    'Give all datasets the same classes in the same order; otherwise the '
    'evaluation mixes up the classes',
)
NUM_CLASSES = Kind(
    'num_classes does not match the data',
    'Set it to the number of classes in the data. If it is right, correct the '
    'classes of the dataset',
)

_Pair = tuple[Source, Content]


def check(cfg: Config) -> Report:
    """Check the datasets of a config, and its heads against them.

    Each image is decoded once, even if several splits use it.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.

    Raises:
        ModuleNotFoundError: If its library is not installed.
        ValueError: If it names an unknown dataset.
    """
    report = Report()
    scope = cfg.get('default_scope')
    if scope is not None:
        check_installed(scope)
    with DATASETS.switch_scope_and_registry(scope) as registry:
        sources = find_sources(cfg, registry)
        pairs = _read(cfg, sources, registry, report)
    files = read_files(
        task
        for _, content in pairs
        for task in (*image_tasks(content), *map_tasks(content))
    )
    ignored = ignored_labels(cfg)
    for source, content in pairs:
        report.add(source.name, check_class_names(source, content))
        report.add(source.name, check_images(content, files))
        report.add(source.name, check_maps(content, files, ignored))
        content.sizes = image_sizes(content, files)
        if content.has_maps:
            content.objects = map_objects(content, files)
    check_duplicates(cfg, pairs, files, report)
    _compare_classes(cfg, pairs, report)
    _check_occurrence(cfg, pairs, report)
    splits = _splits(pairs)
    report.summaries = [f'{name}: {_summary(x)}' for name, x in splits.items()]
    report.tables = tables(splits)
    return report


def check_heads(cfg: Config, num_classes: int) -> Iterator[Finding]:
    """Find heads whose number of classes is not ``num_classes``."""
    for slot in class_slots(cfg):
        if slot.num_classes != num_classes:
            yield Finding(
                NUM_CLASSES,
                cfg.filename,
                f'{slot.path}={slot.num_classes}, the data have {num_classes}',
            )


def _read(
    cfg: Config, sources: list[Source], registry: Registry, report: Report
) -> list[_Pair]:
    """Read the annotations of all datasets; unreadable ones are left out."""
    numbers = [slot.num_classes for slot in class_slots(cfg)]
    pairs = []
    for source in sources:
        report.add(source.name, source.check_classes_type(cfg.filename))
        missing_root = list(source.check_data_root())
        if missing_root:
            report.add(source.name, missing_root)
            continue
        if coco.is_coco(source.cls):
            content, findings = coco.read(source, cfg.filename)
        else:
            content, findings = any_dataset.read(
                source, registry, numbers[0] if numbers else None
            )
        report.add(source.name, findings)
        if content is not None:
            content.image_reader = image_reader(source)
            pairs.append((source, content))
    return pairs


def _compare_classes(cfg: Config, pairs: list[_Pair], report: Report) -> None:
    """Compare the classes of the datasets with the heads and each other."""
    if not learns_classes(cfg):
        return
    splits_of_number: dict[int, list[str]] = {}
    for source, content in pairs:
        if content.num_classes is not None:
            splits = splits_of_number.setdefault(content.num_classes, [])
            splits += [x for x in source.splits if x not in splits]
    for number, splits in splits_of_number.items():
        report.add(', '.join(splits), check_heads(cfg, number))

    trained = [pair for pair in pairs if pair[0].is_trained]
    if not trained:
        return
    classes = trained[0][1].classes
    for source, content in pairs:
        if None not in (classes, content.classes) and (classes != content.classes):
            report.add(
                source.name,
                [
                    Finding(
                        OTHER_CLASSES,
                        source.file,
                        f'{listed(content.classes)}; the training set '
                        f'{trained[0][0].file} has {listed(classes)}',
                    )
                ],
            )


def _check_occurrence(cfg: Config, pairs: list[_Pair], report: Report) -> None:
    """Find classes that are in no dataset, or only in those to evaluate on."""
    if not pairs or not learns_classes(cfg):
        return
    trained = [content for source, content in pairs if source.is_trained]
    for source, content in pairs:
        is_judged = 'val' in source.splits or source.is_evaluated
        if is_judged and trained and not source.is_trained:
            report.add(source.name, check_trained(content, source.file, trained))
    names = list(dict.fromkeys(x for source, _ in pairs for x in source.splits))
    report.add(
        ', '.join(names),
        check_nowhere([content for _, content in pairs], pairs[0][0].file),
    )


def _splits(pairs: list[_Pair]) -> dict[str, list[Content]]:
    """The datasets of each split; splits with the same ones share an entry."""
    contents: dict[tuple[int, ...], list[Content]] = {}
    names: dict[tuple[int, ...], list[str]] = {}
    for split in SPLITS:
        of_split = [c for source, c in pairs if split in source.splits]
        if of_split:
            key = tuple(map(id, of_split))
            contents[key] = of_split
            names.setdefault(key, []).append(split)
    return {', '.join(names[key]): of_split for key, of_split in contents.items()}


def _summary(contents: list[Content]) -> str:
    num_images, num_kept, num_annotations = (
        sum(getattr(content, name) for content in contents)
        for name in ('num_images', 'num_kept', 'num_annotations')
    )
    kept = '' if num_kept == num_images else f' ({num_kept} after filter_cfg)'
    num_classes = max(content.num_classes or 0 for content in contents)
    return (
        f'{num_images} images{kept}, {num_annotations} annotations, '
        f'{num_classes} classes'
    )
