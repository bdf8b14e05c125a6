"""What a conversion has written and left out, as text."""

from collections import Counter
from pathlib import Path

from ..engine.folders.splits import SPLITS
from .records import Dataset

NUM_EXAMPLES = 3


def summarize(dataset: Dataset, format_: str, out: Path) -> str:
    """The numbers of each split and class, the notes, and the config to train with.

    Args:
        dataset: The dataset as it was written.
        format_: Its format before.
        out: The folder that was written.
    """
    images = Counter(image.split for image in dataset.images)
    empty = Counter(image.split for image in dataset.images if not image.classes)
    totals = {split: Counter() for split in SPLITS}
    for image in dataset.images:
        totals[image.split].update(image.classes)
    classes = dataset.classes or sorted(totals['train'] | totals['val'])

    rows = [('', *SPLITS), ('images', *(images[split] for split in SPLITS))]
    if classes and empty:
        rows.append(('images without objects', *(empty[split] for split in SPLITS)))
    rows += [(name, *(totals[split][name] for split in SPLITS)) for name in classes]
    width = max(len(row[0]) for row in rows)
    lines = [f'From format {format_}:'] + [
        f'  {name:{width}}  {train:>7}  {val:>7}' for name, train, val in rows
    ]
    for reason, entries in sorted(dataset.notes.items()):
        examples = ', '.join(entries[:NUM_EXAMPLES])
        more = ', ...' if len(entries) > NUM_EXAMPLES else ''
        lines.append(f'{reason} ({len(entries)}): {examples}{more}')
    if format_ == 'masks' and dataset.names_file is None:
        lines.append(f'Name the values of the masks in {out / "classes.txt"}')
    config = f'configs/finetune_{_config(dataset)}_lightvit_t.py'.replace('__', '_')
    return '\n'.join([*lines, f'Next: {config} with data_root={out}'])


def _config(dataset: Dataset) -> str:
    if any(image.mask for image in dataset.images):
        return 'semantic_fpn'
    if any(image.label for image in dataset.images):
        return ''
    has_masks = any(x.segmentation for image in dataset.images for x in image.objects)
    return 'mask_rcnn' if has_masks else 'faster_rcnn'
