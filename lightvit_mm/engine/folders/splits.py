"""What all folders of your own data share: train, val, and how to name data_root."""

from pathlib import Path

SPLITS = ('train', 'val')
# What tools call them.
SPLIT_NAMES = dict(train='train', val='val', valid='val', validation='val')
SET_DATA_ROOT = 'Set data_root, for example with --cfg-options data_root=FOLDER, to '


def split_folder(parent: Path, split: str) -> Path:
    """The folder of a split: 'train', or 'val', 'valid' or 'validation'.

    Upper and lower case do not matter. If there is none, it is ``parent / split``,
    which does not exist.

    Raises:
        ValueError: If there are several.
    """
    found = [
        path
        for path in sorted(parent.glob('*'))
        if SPLIT_NAMES.get(path.name.lower()) == split and path.is_dir()
    ]
    if len(found) > 1:
        raise ValueError(
            f'{parent} has several folders for {split}: '
            f'{", ".join(path.name for path in found)}. Keep one of them'
        )
    return found[0] if found else parent / split


def split_it(root: Path) -> str:
    """The sentence that says how to split a dataset."""
    return (
        'Split it into train and val: '
        f'python tools/convert_dataset.py {root} OUT --val 0.2'
    )
