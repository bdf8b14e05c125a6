"""Predictions in COCO's format, written while they come."""

import json
from collections.abc import Sequence
from typing import TextIO


class CocoStream:
    """A COCO file that is written image by image.

    Images and annotations are numbered from 1. The id of a category is the
    index of its class, from 0.

    Args:
        file: Where it is written to; it is whole after :meth:`close`.
        info: Plain values that say where the predictions are from.
        classes: Names, in the order of the model's outputs.
    """

    def __init__(self, file: TextIO, info: dict, classes: Sequence[str]) -> None:
        self.file = file
        self.images: list[str] = []
        self.num_annotations = 0
        categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
        file.write(
            f'{{"info": {json.dumps(info)},\n'
            f'"categories": {json.dumps(categories)},\n'
            '"annotations": ['
        )

    def add(
        self, name: str, size: tuple[int, int], annotations: Sequence[dict]
    ) -> None:
        """Add an image and what was found in it.

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

    def close(self) -> None:
        """Write what comes behind the last annotation."""
        images = ',\n'.join(self.images)
        self.file.write(f'\n],\n"images": [\n{images}\n]}}\n')
