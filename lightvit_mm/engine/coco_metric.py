"""COCO's metric for files whose annotations have any ids; needs mmdetection."""

from mmdet.evaluation import CocoMetric as MMDetCocoMetric
from mmengine.logging import print_log

from ..registry import METRICS
from .folders.coco import can_match


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdetection's metric, which also evaluates annotations of other ids correctly.

    pycocotools stores the id of the annotation that a detection matches, and 0
    for no match. It therefore counts each match with id 0 as an error, and fails
    if an id is text. In both cases, this metric numbers the annotations from 1.

    Args:
        kwargs: Options of mmdetection's ``CocoMetric``.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        ids = () if self._coco_api is None else self._coco_api.anns
        unfit = next((x for x in ids if not can_match(x)), None)
        if unfit is not None:
            self._number_from_1()
            print_log(
                f'{kwargs["ann_file"]} has an annotation with id {unfit!r}, which '
                'pycocotools cannot match: numbered from 1 for the evaluation',
                logger='current',
            )

    def _number_from_1(self) -> None:
        annotations = self._coco_api.dataset['annotations']
        for i, annotation in enumerate(annotations, start=1):
            annotation['id'] = i
        self._coco_api.anns = {x['id']: x for x in annotations}
