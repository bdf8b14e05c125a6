"""COCO's metric for files whose annotations have any ids; needs mmdetection."""

from mmdet.evaluation import CocoMetric as MMDetCocoMetric
from mmengine.logging import print_log

from ..registry import METRICS


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdetection's metric, which also evaluates an annotation of id 0 correctly.

    pycocotools stores the id of the annotation that a detection matches, and 0
    for no match. It therefore counts each match with id 0 as an error. This
    metric numbers the annotations from 1 if one has the id 0.

    Args:
        kwargs: Options of mmdetection's ``CocoMetric``.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if self._coco_api is not None and 0 in self._coco_api.anns:
            self._number_from_1()
            print_log(
                f'{kwargs["ann_file"]} has an annotation with id 0, which '
                'pycocotools takes for no match: all are numbered from 1 here',
                logger='current',
            )

    def _number_from_1(self) -> None:
        annotations = self._coco_api.dataset['annotations']
        for i, annotation in enumerate(annotations, start=1):
            annotation['id'] = i
        self._coco_api.anns = {x['id']: x for x in annotations}
