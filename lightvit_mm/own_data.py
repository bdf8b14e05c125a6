"""Runners for one's own data: one folder completes the config.

The folder is ``data_root``, and what a config cannot know before it is in
there: names and number of the classes, names of files. It is read when the
runner is built, for by then all options are merged into the config.
"""

import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_dir_or_file
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.runner import Runner

from .registry import RUNNERS
from .settings import walk

SPLITS = ('train', 'val')
# Its pixels are neither learnt nor evaluated.
VOID = 'void'

_SET_DATA_ROOT = 'Set data_root, as by --cfg-options data_root=FOLDER, to '


class OwnDataRunner(Runner):
    """mmengine's runner, for a config that ``data_root`` completes."""

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            OSError: If a file or a folder is missing.
            ValueError: If they do not fit together.
        """
        raise NotImplementedError

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'OwnDataRunner':
        """Build a runner from a config, which :meth:`fill` completes."""
        cls.fill(cfg)
        return super().from_cfg(cfg)


def own_data_runner(cfg: Config) -> type[OwnDataRunner] | None:
    """The runner that completes a config, if it names one that does."""
    runner = MMENGINE_RUNNERS.get(cfg.get('runner_type', 'Runner'))
    return runner if issubclass(runner, OwnDataRunner) else None


def complete(cfg: Config) -> None:
    """Complete a config in place if its runner would, else leave it alone.

    Args:
        cfg: Any config; ``runner_type`` names its runner.

    Raises:
        OSError: If a file or a folder in ``data_root`` is missing.
        ValueError: If they do not fit together.
    """
    runner = own_data_runner(cfg)
    if runner is not None:
        runner.fill(cfg)


@RUNNERS.register_module()
class ClassFolderRunner(OwnDataRunner):
    """For classification: ``data_root`` holds train/CLASS/ and val/CLASS/.

    The folder goes to the data sets, whose ``data_prefix`` is 'train' or
    'val', and the number of its class folders to the head and the data
    preprocessor.
    """

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config of a classifier in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            FileNotFoundError: If a folder is missing or has no class folders.
            ValueError: If the classes of train and val differ.
        """
        classes, val_classes = (
            _class_folders(cfg.data_root, split) for split in SPLITS
        )
        if classes != val_classes:
            difference = sorted(set(classes) ^ set(val_classes))
            raise ValueError(
                f'The class folders in data_root={cfg.data_root} should be '
                'the same in train and val; in only one of them: '
                f'{", ".join(difference)}'
            )

        cfg.model.head.num_classes = len(classes)
        cfg.data_preprocessor.num_classes = len(classes)
        for _, dataset in _datasets(cfg):
            dataset.data_root = cfg.data_root


@RUNNERS.register_module()
class CocoFolderRunner(OwnDataRunner):
    """For detection: ``data_root`` holds images and annotations of COCO.

    The annotations are the one JSON file with 'train' in its name, and the
    one with 'val', in the folder or in its ``annotations``. The images are in
    whichever folder has all of the files that they name. Classes are numbered
    as mmdet numbers them, by their place among the file's categories.

    It works with every mmdet config that has the data sets of COCO.
    """

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config of a detector in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            FileNotFoundError: If an image is missing.
            ValueError: If annotations are missing, not COCO's or have other
                categories in train than in val, or if it is not clear which
                of several files or folders is meant.
        """
        root = Path(cfg.data_root)
        paths = {split: _annotation_file(root, split) for split in SPLITS}
        annotations = {split: _read_coco(paths[split]) for split in SPLITS}
        classes = _common_categories(paths, annotations)
        folders, files = _walk(root)
        images = {
            split: _image_folder(
                root,
                folders,
                files,
                split,
                paths[split],
                [image['file_name'] for image in annotations[split]['images']],
            )
            for split in SPLITS
        }

        set_num_classes(cfg.model, len(classes))
        for split, dataset in _datasets(cfg):
            dataset.data_root = cfg.data_root
            dataset.ann_file = paths[split].relative_to(root).as_posix()
            dataset.data_prefix = dict(img=images[split])
            # COCO has no colours for more than 80 classes.
            dataset.metainfo = dict(classes=classes, palette=None)
        for name in ('val_evaluator', 'test_evaluator'):
            metrics = cfg.get(name) or []
            for metric in [metrics] if isinstance(metrics, dict) else metrics:
                if 'ann_file' in metric:
                    metric.ann_file = str(paths['val'])


@RUNNERS.register_module()
class MaskFolderRunner(OwnDataRunner):
    """For segmentation: ``data_root`` holds images, masks and classes.txt.

    The images are in img_dir/train and img_dir/val, and their masks of the
    same names, as PNG, in ann_dir/train and ann_dir/val. Line k of classes.txt
    (from 0) names the mask value k. The pixels of a class ``void`` and those
    of value 255 are neither learnt nor evaluated.

    The data sets are of type :class:`lightvit_mm.datasets.MaskFolderDataset`.
    """

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config of a segmentor in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            FileNotFoundError: If images, masks or classes.txt are missing.
            ValueError: If classes.txt does not name the classes, or images
                have different suffixes.
        """
        names = _read_class_names(Path(cfg.data_root, 'classes.txt'))
        classes = tuple(name for name in names if name != VOID)
        suffixes = {
            split: _image_suffix(Path(cfg.data_root), split) for split in SPLITS
        }

        set_num_classes(cfg.model, len(classes))
        for split, dataset in _datasets(cfg):
            dataset.data_root = cfg.data_root
            dataset.data_prefix = dict(
                img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'
            )
            dataset.img_suffix = suffixes[split]
            dataset.mask_classes = names
            dataset.metainfo = dict(classes=classes)


def _datasets(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Each data set of a config, after the split that it takes."""
    for name, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataloader = cfg.get(f'{name}_dataloader')
        # tools/train.py --no-validate
        if dataloader is None:
            continue
        dataset = dataloader.dataset
        # One that repeats or mixes the images of another.
        while 'dataset' in dataset:
            dataset = dataset.dataset
        yield split, dataset


def set_num_classes(model: dict, num_classes: int) -> None:
    """Set every ``num_classes`` of a model: in its heads and their losses."""
    for part in walk(model):
        if 'num_classes' in part:
            part['num_classes'] = num_classes


# Folders of classes


def _class_folders(data_root: str, split: str) -> list[str]:
    folder = Path(data_root, split)
    classes = sorted(path.name for path in folder.glob('*') if path.is_dir())
    if not classes:
        raise FileNotFoundError(
            f'There is no class folder in {folder}. {_SET_DATA_ROOT}a folder '
            'with images in train/CLASS/ and val/CLASS/.'
        )
    return classes


# COCO


def _annotation_file(root: Path, split: str) -> Path:
    seen = sorted([*root.glob('*.json'), *root.glob('annotations/*.json')])
    found = [path for path in seen if split in path.name.lower()]
    if len(found) != 1:
        raise ValueError(
            f'There should be one *.json with {split!r} in its name in {root} '
            f'or {root / "annotations"}, and there are {len(found)}. All '
            f'*.json there: {", ".join(map(str, seen)) or "none"}. '
            f"{_SET_DATA_ROOT}a folder with COCO's annotations, as train.json "
            'and val.json.'
        )
    return found[0]


def _read_coco(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    missing = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not content.get(key)
    ]
    if missing:
        raise ValueError(
            f"{path} is not in COCO's format, or empty: it has no {', '.join(missing)}"
        )
    return content


def _common_categories(
    paths: dict[str, Path], annotations: dict[str, dict]
) -> tuple[str, ...]:
    """The names of the categories, which train and val have in common."""
    train, val = (
        [
            (category['id'], category['name'])
            for category in annotations[split]['categories']
        ]
        for split in SPLITS
    )
    if train != val:
        difference = [
            f'{name} (id {number})'
            for number, name in train + val
            if (number, name) not in train or (number, name) not in val
        ]
        # mmdet would number the classes of one otherwise than of the other.
        what = (
            'in only one of them: ' + ', '.join(difference)
            if difference
            else 'they are listed in another order'
        )
        raise ValueError(
            f'The categories in {paths["train"]} and {paths["val"]} should '
            f'have the same names, ids and order; {what}'
        )
    return tuple(name for _, name in train)


def _walk(root: Path) -> tuple[list[str], set[str]]:
    """Folders and files in a folder, relative to it; '.' is the folder."""
    folders, files = [], set()
    for path, _, names in os.walk(root, followlinks=True):
        folder = Path(path).relative_to(root).as_posix()
        folders.append(folder)
        files.update(_join(folder, name) for name in names)
    return sorted(folders), files


def _join(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name))


def _image_folder(
    root: Path,
    folders: list[str],
    files: set[str],
    split: str,
    annotation_file: Path,
    names: list[str],
) -> str:
    """The folder, relative to the root, that has all images of a split.

    Where several have, as with 0001.jpg in train and in val, the one that the
    split is named after.
    """
    # Most folders fail at once, without a look for each of the images.
    holding = [folder for folder in folders if _join(folder, names[0]) in files]
    if not holding:
        raise FileNotFoundError(
            f'{names[0]}, which {annotation_file} names, is in none of the '
            f'folders of {root}: {", ".join(folders)}'
        )
    missing = {
        folder: [name for name in names if _join(folder, name) not in files]
        for folder in holding
    }
    found = [folder for folder in holding if not missing[folder]]
    if not found:
        folder = min(holding, key=lambda folder: len(missing[folder]))
        raise FileNotFoundError(
            f'{root / folder} lacks {len(missing[folder])} of the '
            f'{len(names)} images that {annotation_file} names; the first is '
            f'{missing[folder][0]}'
        )
    named = [folder for folder in found if split in folder.lower()]
    if len(found) > 1 and len(named) != 1:
        raise ValueError(
            f'Several folders have all images that {annotation_file} names: '
            f'{", ".join(str(root / folder) for folder in found)}. Leave '
            f'{split!r} in the name of one of them'
        )
    return found[0] if len(found) == 1 else named[0]


# Masks


def _read_class_names(path: Path) -> list[str]:
    """The names of the mask values 0, 1 and so on, a line each."""
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no {path}. Write the names of the classes there, one '
            'per line: the first line names the mask value 0, the next one 1. '
            f'Name a value {VOID} that should not be learnt. Or set '
            'data_root, as by --cfg-options data_root=FOLDER, to the folder '
            'that has it.'
        )
    # utf-8-sig: editors on Windows write a mark before the first name.
    text = path.read_text(encoding='utf-8-sig').rstrip()
    names = [line.strip() for line in text.splitlines()]
    if '' in names:
        raise ValueError(
            f'Line {names.index("") + 1} of {path} is empty, and should name '
            f'the mask value {names.index("")}: {VOID}, if it is not learnt'
        )
    classes = [name for name in names if name != VOID]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(f'{path} has more than once: {", ".join(twice)}')
    if len(classes) < 2:
        raise ValueError(
            f'{path} should name two classes or more beside {VOID}, and names '
            f'{", ".join(classes) or "none"}. What is around the objects is a '
            'class as well, if it is to be told from them'
        )
    return names


def _image_suffix(root: Path, split: str) -> str:
    """The suffix of a split's images, each of which has its mask."""
    folder = root / 'img_dir' / split
    files = (
        list_dir_or_file(folder, list_dir=False, recursive=True)
        if folder.is_dir()
        else []
    )
    images = sorted(
        Path(file) for file in files if file.lower().endswith(('.jpg', '.jpeg', '.png'))
    )
    if not images:
        raise FileNotFoundError(
            f'There is no .jpg or .png in {folder}. {_SET_DATA_ROOT}a folder '
            'with images in img_dir/train and img_dir/val and their masks in '
            'ann_dir/train and ann_dir/val.'
        )
    suffixes = sorted({image.suffix for image in images})
    if len(suffixes) > 1:
        raise ValueError(
            f'The images in {folder} should have one suffix, and '
            f'have {", ".join(suffixes)}'
        )
    masks = [root / 'ann_dir' / split / image.with_suffix('.png') for image in images]
    missing = [mask for mask in masks if not mask.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(images)} images in {folder} have no '
            f'mask; the first that is missing is {missing[0]}'
        )
    return suffixes[0]
