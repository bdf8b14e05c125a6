"""COCO's metric for files whose annotations have any ids; needs mmdetection."""

from mmdet.evaluation import CocoMetric as MMDetCocoMetric
from mmengine.logging import print_log

from ..arguments import FLAG, TEXT, Kind, checked, each, integer, one_of, optional
from ..registry import METRICS
from .folders.coco import can_match

_METRIC = one_of('bbox', 'segm', 'proposal', 'proposal_fast')


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdetection's metric, which also evaluates annotations of other ids correctly.

    pycocotools stores the id of the annotation that a detection matches, and 0
    for no match. It therefore counts each match with id 0 as an error, and fails
    if an id is text. In both cases, this metric numbers the annotations from 1.

    Args:
        kwargs: Options of mmdetection's ``CocoMetric``.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of its range.
    """

    @checked(
        metric=Kind(
            f'{_METRIC.expected}, or a list of them',
            lambda value: (
                _METRIC.accepts(value)
                or (isinstance(value, list) and all(map(_METRIC.accepts, value)))
            ),
        ),
        proposal_nums=each(integer(1), least=3),
        classwise=FLAG,
        format_only=FLAG,
        prefix=optional(TEXT),
        sort_categories=FLAG,
        use_mp_eval=FLAG,
    )
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
