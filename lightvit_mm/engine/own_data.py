"""Runners for your own data: one folder and a few options complete the config.

The folder is ``data_root``. It provides the class names, the number of classes
and the file names. The options are those of :data:`OPTIONS`. All are read when
the runner is built: only then have they been merged into the config.
"""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.runner import Runner

from ..config import datasets, reads_masks, set_num_classes, type_name
from ..nested import walk
from ..registry import RUNNERS
from .folders import classes, coco, masks
from .folders.splits import SET_DATA_ROOT, SPLITS, split_folder
from .image_size import set_image_size
from .pretrained import set_pretrained

OPTIONS = ('data_root', 'pretrained', 'image_size')

# The split of the folder that each dataset of a config uses.
_SPLIT_OF = dict(train='train', val='val', test='val')


class OwnDataRunner(Runner):
    """mmengine's runner for a config that ``data_root`` completes."""

    # What data_root holds, for an error message.
    layout: str

    @classmethod
    def fill(cls, cfg: Config) -> None:
        """Complete a config in place.

        Args:
            cfg: Config with ``data_root``. ``pretrained`` and ``image_size`` are
                optional.

        Raises:
            OSError: If a file or a folder is missing.
            ValueError: If files contradict each other, or an option is invalid.
        """
        apply_options(cfg)
        root = cfg.get('data_root')
        if not (isinstance(root, (str, Path)) and Path(root).is_dir()):
            raise FileNotFoundError(
                f'data_root={root} is not a folder. {SET_DATA_ROOT}a folder with '
                f'{cls.layout}'
            )
        cls.read_folder(cfg, Path(root))

    @classmethod
    def read_folder(cls, cfg: Config, root: Path) -> None:
        """Take classes and files from a folder, see :meth:`fill`."""
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


def apply_options(cfg: Config) -> None:
    """Apply ``pretrained`` and ``image_size`` of a config in place, if it has them.

    Raises:
        ValueError: If one of them is invalid.
    """
    if 'pretrained' in cfg:
        set_pretrained(cfg, cfg.pretrained)
    if cfg.get('image_size') is not None:
        set_image_size(cfg, cfg.image_size)


def own_data_runner(cfg: Config) -> type[OwnDataRunner] | None:
    """The runner class of a config if it completes configs, otherwise None.

    Raises:
        ValueError: If ``runner_type`` names no runner.
    """
    name = cfg.get('runner_type', 'Runner')
    try:
        runner = MMENGINE_RUNNERS.get(name) if isinstance(name, str) else None
    except RuntimeError:  # no class at this path
        runner = None
    if runner is None:
        raise ValueError(
            f'runner_type={name!r} is not a runner. For your own data, use '
            f'{", ".join(f"lightvit_mm.{name}" for name in RUNNERS.module_dict)}'
        )
    return runner if issubclass(runner, OwnDataRunner) else None


def complete(cfg: Config, num_classes: int | None = None) -> None:
    """Complete a config in place if its runner would; otherwise do nothing.

    Args:
        cfg: Any config; ``runner_type`` names its runner.
        num_classes: Number of classes, such as that of a checkpoint. Then
            ``data_root`` is not read.

    Raises:
        OSError: If a file or a folder in ``data_root`` is missing.
        ValueError: If files contradict each other, or an option is invalid.
    """
    runner = own_data_runner(cfg)
    if runner is None:
        return
    if num_classes is None:
        runner.fill(cfg)
    else:
        apply_options(cfg)
        set_num_classes(cfg, num_classes)


@RUNNERS.register_module()
class ClassFolderRunner(OwnDataRunner):
    """For classification: ``data_root`` holds train/CLASS/ and val/CLASS/.

    It sets the folders of the datasets. It sets ``num_classes`` of the head and
    the data preprocessor to the number of class folders. Hidden folders such as
    .ipynb_checkpoints are not classes.
    """

    layout = 'images in train/CLASS/ and val/CLASS/.'

    @classmethod
    def read_folder(cls, cfg: Config, root: Path) -> None:
        """Complete a config of a classifier in place.

        Args:
            cfg: Config of mmpretrain.
            root: The folder ``data_root``.

        Raises:
            FileNotFoundError: If a folder is missing or has no class folders.
            ValueError: If the classes of train and val differ, there is only
                one, or a class has no image.
        """
        folders = {split: split_folder(root, split) for split in SPLITS}
        names, val_names = map(classes.class_names, folders.values())
        if names != val_names:
            raise ValueError(
                f'The class folders in data_root={root} should be the same in '
                'train and val; in only one of them: '
                f'{", ".join(sorted(set(names) ^ set(val_names)))}'
            )
        if len(names) < 2:
            raise ValueError(
                f'A classifier needs two classes or more, but the only class folder '
                f'in {folders["train"]} is {names[0]}. Add a folder with images of '
                'anything else'
            )
        for folder in folders.values():
            classes.class_images(folder)

        set_num_classes(cfg, len(names))
        for slot in datasets(cfg):
            slot.cfg.data_root = cfg.data_root
            slot.cfg.data_prefix = folders[_SPLIT_OF[slot.split]].name


@RUNNERS.register_module()
class CocoFolderRunner(OwnDataRunner):
    """For detection: ``data_root`` holds images and COCO annotations.

    The annotations are one JSON file with 'train' in its name and one with
    'val', in the folder itself or in ``annotations``, or one JSON file each in
    ``train`` and ``val``. The images may be in any folder below; the one with all
    files of a split is used. Classes are numbered as in mmdet, in the order of
    the file's categories. The evaluation is that of
    :class:`lightvit_mm.engine.coco_metric.CocoMetric`.

    It works with every mmdet config for COCO datasets.
    """

    layout = 'images and COCO annotations such as train.json and val.json.'

    @classmethod
    def read_folder(cls, cfg: Config, root: Path) -> None:
        """Complete a config of a detector in place.

        Args:
            cfg: Config of mmdet.
            root: The folder ``data_root``.

        Raises:
            FileNotFoundError: If an image is missing.
            ValueError: If annotations are missing or not in COCO format, if
                the config needs masks and there are none, if the categories of
                train and val differ, or if several files or folders could be
                meant.
        """
        paths = {split: coco.annotation_file(root, split) for split in SPLITS}
        contents = {split: coco.read(paths[split]) for split in SPLITS}
        names = coco.common_categories(paths, contents)
        pipelines = [slot.cfg.get('pipeline') for slot in datasets(cfg)]
        if reads_masks(pipelines, _coco_metrics(cfg)):
            for split in SPLITS:
                coco.check_masks(paths[split], contents[split]['annotations'])
        folders, files = coco.list_files(root)
        images = {
            split: coco.image_folder(
                root,
                folders,
                files,
                split,
                paths[split],
                [image['file_name'] for image in contents[split]['images']],
            )
            for split in SPLITS
        }

        set_num_classes(cfg, len(names))
        for slot in datasets(cfg):
            split, dataset = _SPLIT_OF[slot.split], slot.cfg
            dataset.data_root = cfg.data_root
            dataset.ann_file = paths[split].relative_to(root).as_posix()
            dataset.data_prefix = dict(img=images[split])
            # COCO only has colours for 80 classes.
            dataset.metainfo = dict(classes=names, palette=None)
        for metric in _coco_metrics(cfg):
            metric.type = 'lightvit_mm.CocoMetric'
            if 'ann_file' in metric:
                metric.ann_file = str(paths['val'])


def _coco_metrics(cfg: Config) -> list[dict]:
    evaluators = [cfg.get('val_evaluator'), cfg.get('test_evaluator')]
    return [x for x in walk(evaluators) if type_name(x) == 'CocoMetric']


@RUNNERS.register_module()
class MaskFolderRunner(OwnDataRunner):
    """For segmentation: ``data_root`` holds images, masks and classes.txt.

    The images are in img_dir/train and img_dir/val. Their masks have the same
    names before the suffix, in ann_dir/train and ann_dir/val. Line k of
    classes.txt, from 0, names the mask value k; or each line names any value or
    colour, such as ``255: road`` or ``#ff8000: road``. Pixels of the class
    ``void``, or of value 255 without a name, are ignored in training and
    evaluation.

    The datasets are :class:`lightvit_mm.engine.mask_folder.MaskFolderDataset`.
    """

    layout = 'img_dir/{train,val}, ann_dir/{train,val} and classes.txt.'

    @classmethod
    def read_folder(cls, cfg: Config, root: Path) -> None:
        """Complete a config of a segmentor in place.

        Args:
            cfg: Config of mmseg.
            root: The folder ``data_root``.

        Raises:
            FileNotFoundError: If images, masks or classes.txt are missing.
            ValueError: If classes.txt is invalid, or masks are JPEG files.
        """
        named = masks.read_mask_classes(root / 'classes.txt')
        prefixes = {
            split: dict(
                img_path=split_folder(root / 'img_dir', split),
                seg_map_path=split_folder(root / 'ann_dir', split),
            )
            for split in SPLITS
        }
        for prefix in prefixes.values():
            masks.pair_masks(*prefix.values())
        if named.needs_lookup:
            _check_loaders(cfg, root)

        set_num_classes(cfg, len(named.classes))
        for slot in datasets(cfg):
            dataset = slot.cfg
            dataset.data_root = cfg.data_root
            dataset.data_prefix = {
                key: folder.relative_to(root).as_posix()
                for key, folder in prefixes[_SPLIT_OF[slot.split]].items()
            }
            dataset.mask_classes = named.names
            dataset.mask_values = named.values
            dataset.metainfo = dict(classes=tuple(named.classes))


def _check_loaders(cfg: Config, root: Path) -> None:
    for slot in datasets(cfg):
        for transform in walk(slot.cfg.get('pipeline')):
            if type_name(transform) == 'LoadAnnotations':
                raise ValueError(
                    f'{root / "classes.txt"} has colours or values above 255: set '
                    "type='lightvit_mm.LoadSegMap' in place of 'LoadAnnotations' in "
                    f'{slot.path}.pipeline'
                )
