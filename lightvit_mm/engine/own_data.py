"""Runners for your own data: one folder completes the config.

The folder is ``data_root``. It provides the class names, the number of classes
and the file names. It is read when the runner is built: only then have all
options been merged into the config.
"""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.runner import Runner

from ..config import datasets, set_num_classes
from ..registry import RUNNERS
from .folders import (
    FOLDERS,
    VOID,
    annotation_file,
    class_folders,
    common_categories,
    image_folder,
    image_suffix,
    list_files,
    read_class_names,
    read_coco,
)

# The split of the folder that each dataset of a config uses.
_FOLDER_OF = dict(train='train', val='val', test='val')


class OwnDataRunner(Runner):
    """mmengine's runner for a config that ``data_root`` completes."""

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            OSError: If a file or a folder is missing.
            ValueError: If files contradict each other.
        """
        raise NotImplementedError

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'OwnDataRunner':
        """Complete a config with :meth:`fill` and build its runner."""
        cls.fill(cfg)
        return cls.from_filled(cfg)

    @classmethod
    def from_filled(cls, cfg: Config) -> 'OwnDataRunner':
        """Build the runner of a config that is complete."""
        return super().from_cfg(cfg)


def own_data_runner(cfg: Config) -> type[OwnDataRunner] | None:
    """The runner class of a config if it completes configs, otherwise None."""
    runner = MMENGINE_RUNNERS.get(cfg.get('runner_type', 'Runner'))
    return runner if issubclass(runner, OwnDataRunner) else None


def complete(cfg: Config) -> None:
    """Complete a config in place if its runner would; otherwise do nothing.

    Args:
        cfg: Any config; ``runner_type`` names its runner.

    Raises:
        OSError: If a file or a folder in ``data_root`` is missing.
        ValueError: If files contradict each other.
    """
    runner = own_data_runner(cfg)
    if runner is not None:
        runner.fill(cfg)


@RUNNERS.register_module()
class ClassFolderRunner(OwnDataRunner):
    """For classification: ``data_root`` holds train/CLASS/ and val/CLASS/.

    It sets the folder of the datasets, whose ``data_prefix`` is 'train' or
    'val'. It sets ``num_classes`` of the head and the data preprocessor to the
    number of class folders.
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
            class_folders(cfg.data_root, split) for split in FOLDERS
        )
        if classes != val_classes:
            difference = sorted(set(classes) ^ set(val_classes))
            raise ValueError(
                f'The class folders in data_root={cfg.data_root} should be '
                'the same in train and val; in only one of them: '
                f'{", ".join(difference)}'
            )

        set_num_classes(cfg, len(classes))
        for slot in datasets(cfg):
            slot.cfg.data_root = cfg.data_root


@RUNNERS.register_module()
class CocoFolderRunner(OwnDataRunner):
    """For detection: ``data_root`` holds images and COCO annotations.

    The annotations are one JSON file with 'train' in its name and one with
    'val', in the folder itself or in ``annotations``. The images may be in any
    folder below; the one with all files of a split is used. Classes are
    numbered as in mmdet, in the order of the file's categories.

    It works with every mmdet config for COCO datasets.
    """

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config of a detector in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            FileNotFoundError: If an image is missing.
            ValueError: If annotations are missing or not in COCO format, if
                the categories of train and val differ, or if several files or
                folders could be meant.
        """
        root = Path(cfg.data_root)
        paths = {split: annotation_file(root, split) for split in FOLDERS}
        annotations = {split: read_coco(paths[split]) for split in FOLDERS}
        classes = common_categories(paths, annotations)
        folders, files = list_files(root)
        images = {
            split: image_folder(
                root,
                folders,
                files,
                split,
                paths[split],
                [image['file_name'] for image in annotations[split]['images']],
            )
            for split in FOLDERS
        }

        set_num_classes(cfg, len(classes))
        for slot in datasets(cfg):
            split, dataset = _FOLDER_OF[slot.split], slot.cfg
            dataset.data_root = cfg.data_root
            dataset.ann_file = paths[split].relative_to(root).as_posix()
            dataset.data_prefix = dict(img=images[split])
            # COCO only has colours for 80 classes.
            dataset.metainfo = dict(classes=classes, palette=None)
        for name in ('val_evaluator', 'test_evaluator'):
            metrics = cfg.get(name) or []
            for metric in [metrics] if isinstance(metrics, dict) else metrics:
                if 'ann_file' in metric:
                    metric.ann_file = str(paths['val'])


@RUNNERS.register_module()
class MaskFolderRunner(OwnDataRunner):
    """For segmentation: ``data_root`` holds images, masks and classes.txt.

    The images are in img_dir/train and img_dir/val. Their masks are PNG files
    of the same names in ann_dir/train and ann_dir/val. Line k of classes.txt,
    from 0, names the mask value k. Pixels of the class ``void`` or of value
    255 are ignored in training and evaluation.

    The datasets are :class:`lightvit_mm.engine.mask_folder.MaskFolderDataset`.
    """

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config of a segmentor in place.

        Args:
            cfg: Config with ``data_root``.

        Raises:
            FileNotFoundError: If images, masks or classes.txt are missing.
            ValueError: If classes.txt is invalid, or images have different
                suffixes.
        """
        names = read_class_names(Path(cfg.data_root, 'classes.txt'))
        classes = tuple(name for name in names if name != VOID)
        suffixes = {
            split: image_suffix(Path(cfg.data_root), split) for split in FOLDERS
        }

        set_num_classes(cfg, len(classes))
        for slot in datasets(cfg):
            split, dataset = _FOLDER_OF[slot.split], slot.cfg
            dataset.data_root = cfg.data_root
            dataset.data_prefix = dict(
                img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'
            )
            dataset.img_suffix = suffixes[split]
            dataset.mask_classes = names
            dataset.metainfo = dict(classes=classes)
