"""Predictions in COCO format, written image by image."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mmengine.config import Config
from mmengine.utils import ProgressBar

from .. import __version__
from ..files import PathLike, written_whole
from .media import (
    Damaged,
    TooLarge,
    naming_too_large,
    open_readers,
    open_writer,
    picture,
)
from .sources import find_sources
from .tasks import load_task

FILE = 'predictions.json'


class Outcome(NamedTuple):
    """The outcome of a run.

    Args:
        num_images: Number of images and frames that were predicted on.
        skipped: Names of the files that could not be read.
    """

    num_images: int
    skipped: list[str]


def predict(
    cfg: Config,
    checkpoint: PathLike,
    paths: Sequence[PathLike],
    out: PathLike,
    score_thr: float = 0.3,
    device: str = 'cpu',
    skip_bad: bool = False,
) -> Outcome:
    """Predict on images and videos, and write drawings and a COCO file.

    Writes ``out``/pictures, for a segmentor also ``out``/masks, and finally
    ``out``/predictions.json. Holds one image in memory at a time.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        paths: As for :func:`lightvit_mm.predict.sources.find_sources`.
        out: Folder for the results. Existing files are replaced.
        score_thr: Detections are drawn and written if their score is above.
        device: Device of the model.
        skip_bad: Whether to skip files that cannot be read.

    Raises:
        ValueError: If the paths, the checkpoint or the config cannot be used, or
            a file cannot be read and is not skipped.
        OSError: If a path is missing, or a file cannot be written.
        ModuleNotFoundError: If a package is missing.
    """
    out = Path(out)
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr={score_thr} should be between 0 and 1')
    sources = find_sources(paths, out)
    task, load = load_task(cfg, checkpoint, score_thr, device)
    damaged = Damaged(skip_bad)
    readers = open_readers(sources, load, damaged)

    _make_folder(out)
    # An old file would describe pictures that are replaced now.
    (out / FILE).unlink(missing_ok=True)
    progress = ProgressBar(sum(map(len, readers)), file=sys.stderr)
    try:
        with written_whole(out / FILE) as draft, open(draft, 'w') as file:
            coco = CocoStream(file, task.classes)
            for reader in readers:
                with open_writer(reader, out) as writer:
                    for name, loaded in reader:
                        try:
                            with naming_too_large(name, loaded['img']):
                                image = picture(loaded['img'])
                                sample = task.predict(loaded)
                                drawn = task.draw(image, sample)
                        except TooLarge as error:
                            damaged.add(name, error)
                            continue
                        coco.add(name, image.shape[:2], task.annotations(sample))
                        writer.write(name, drawn, task.mask(sample))
                        progress.update()
            coco.close(
                description=f'Predictions by lightvit_mm {__version__}',
                date_created=datetime.now().isoformat(timespec='seconds'),
                config=str(cfg.filename),
                checkpoint=str(checkpoint),
                sources=list(map(str, paths)),
                skipped=damaged.names,
            )
    finally:
        progress.file.write('\n')
    return Outcome(len(coco.images), damaged.names)


class CocoStream:
    """Writes a COCO file image by image.

    Images and annotations are numbered from 1. The id of a category is the
    index of its class, from 0.

    Args:
        file: Where to write; it is complete after :meth:`close`.
        classes: Names, in the order of the model's outputs.
    """

    def __init__(self, file: TextIO, classes: Sequence[str]) -> None:
        self.file = file
        self.images: list[str] = []
        self.num_annotations = 0
        categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
        file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')

    def add(
        self, name: str, size: tuple[int, int], annotations: Sequence[dict]
    ) -> None:
        """Add an image and its predictions.

        Args:
            name: Its ``file_name``.
            size: Height and width in pixels.
            annotations: Annotations without ``id`` and ``image_id``.
        """
        height, width = size
        image = dict(
            id=len(self.images) + 1, file_name=name, width=width, height=height
        )
        self.images.append(json.dumps(image))
        for annotation in annotations:
            separator = ',\n' if self.num_annotations else '\n'
            self.num_annotations += 1
            numbered = dict(id=self.num_annotations, image_id=image['id'], **annotation)
            self.file.write(separator + json.dumps(numbered))

    def close(self, **info: Any) -> None:
        """Write what follows the last annotation.

        Args:
            info: Where the predictions come from, as plain values.
        """
        images = ',\n'.join(self.images)
        self.file.write(
            f'\n],\n"images": [\n{images}\n],\n"info": {json.dumps(info)}}}\n'
        )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f'The folder {out} for the results cannot be created '
            f'({error.strerror}): choose another'
        ) from error
