"""A dataset of one folder per class; needs mmpretrain."""

from pathlib import Path

from mmpretrain.datasets import CustomDataset

from ..arguments import Kind, checked, require
from ..files import IMAGE_SUFFIXES
from ..registry import DATASETS
from .dataset_kinds import DATASET
from .folders.classes import class_images


@DATASETS.register_module()
class ClassFolderDataset(CustomDataset):
    """mmpretrain's dataset of class folders, without hidden files and folders.

    Folders such as .ipynb_checkpoints and __MACOSX are not classes. The classes
    are the sorted names of the other folders.

    Args:
        kwargs: Options of mmpretrain's ``CustomDataset``, such as ``data_root``
            and ``data_prefix``.

    Raises:
        FileNotFoundError: If there is no class folder.
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of its range, a class folder has no image,
            or ``metainfo['classes']`` has other names than the folders.
    """

    @checked(with_label=Kind('True', lambda value: value is True), **DATASET)
    def __init__(self, **kwargs) -> None:
        require(
            'ClassFolderDataset',
            any(kwargs.get(key) for key in ('data_root', 'data_prefix', 'ann_file')),
            f'data_root={kwargs.get("data_root")!r}',
            'the folder that contains the class folders',
        )
        super().__init__(extensions=IMAGE_SUFFIXES, **kwargs)

    def _find_samples(self) -> list[tuple[str, int]]:
        """Path and label of each image, for CustomDataset."""
        images = class_images(Path(self.img_prefix))
        classes = tuple(images)
        if tuple(self.CLASSES or classes) != classes:
            raise ValueError(
                f'The class folders in {self.img_prefix} should be metainfo.classes, '
                f'{", ".join(self.CLASSES)}, but are {", ".join(classes)}'
            )
        self._metainfo['classes'] = classes
        return [
            (str(path.relative_to(self.img_prefix)), label)
            for label, paths in enumerate(images.values())
            for path in paths
        ]
