"""The names of the classes of a trained model."""

from collections.abc import Collection

from mmengine.config import Config
from mmengine.registry import DATASETS


def find_classes(
    cfg: Config, trained_on: dict | None, numbers: Collection[int]
) -> dict:
    """Names of the classes, and colours where they are known.

    Args:
        cfg: Config of any of the three libraries, with its test data.
        trained_on: ``dataset_meta`` of the checkpoint, if it has one. What it
            names comes first, then the config's test data, then the class of
            these. Classes without a name are called by their index.
        numbers: Numbers of classes that the heads have; one of them has to be
            that of the names.

    Returns:
        ``classes``, a list, and beside it what else stands with the names, as
        ``palette``.

    Raises:
        ValueError: If the names are not as many as the classes.
    """
    dataset = cfg.test_dataloader.dataset
    scope = cfg.get('default_scope')
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset.type) if 'type' in dataset else None
    by_index = dict(classes=[str(i) for i in range(max(numbers, default=0))])
    known = next(
        meta
        for meta in (
            trained_on,
            dataset.get('metainfo'),
            getattr(kind, 'METAINFO', None),
            by_index,
        )
        if meta and meta.get('classes') is not None
    )
    classes = list(known['classes'])
    if numbers and len(classes) not in numbers:
        raise ValueError(
            f'{len(classes)} class names for {max(numbers)} classes: set '
            'test_dataloader.dataset.metainfo.classes to as many'
        )
    return dict(known, classes=classes)
