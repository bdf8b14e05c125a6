"""OpenMMLab's inferencers, with one interface for the three libraries.

A sample is what a model returns for an image: OpenMMLab's data sample, on the
CPU.
"""

from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ..config import check_installed

TOP = 5  # classes listed for an image
SIDE = 224  # minimum length in pixels of the shorter side of a drawn classification
OPACITY = 0.5  # of the colours that a segmentor draws


class Task:
    """A model that predicts, and draws its predictions.

    Args:
        inferencer: OpenMMLab's inferencer, with the model.
    """

    def __init__(self, inferencer: Any) -> None:
        self.inferencer = inferencer

    def predict(self, image: np.ndarray) -> Any:
        """The sample of an image, BGR, uint8, (h, w, 3)."""
        batch = next(self.inferencer.preprocess([image]))
        return self.inferencer.forward(batch)[0].cpu()

    def annotations(self, sample: Any) -> list[dict]:
        """The annotations for :meth:`lightvit_mm.predict.predict.CocoStream.add`."""
        raise NotImplementedError

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The image, as in :meth:`predict`, with its sample drawn in it."""
        rgb = self._draw(mmcv.bgr2rgb(image), sample)
        return mmcv.rgb2bgr(rgb)

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """Draw in RGB, as the visualizers do."""
        raise NotImplementedError

    def mask(self, sample: Any) -> np.ndarray | None:
        """The class of each pixel (h, w), None if the model is not a segmentor."""
        return None


class Classification(Task):
    """Lists the most likely classes and draws the first.

    Small images are enlarged, so that its name is readable.
    """

    def __init__(self, inferencer: Any) -> None:
        from mmpretrain.visualization import UniversalVisualizer

        super().__init__(inferencer)
        self.visualizer = UniversalVisualizer()

    def annotations(self, sample: Any) -> list[dict]:
        """One annotation per class: category_id and score."""
        scores = sample.pred_score
        top = scores.topk(min(TOP, len(scores)))
        return [
            dict(category_id=label, score=score)
            for label, score in zip(top.indices.tolist(), top.values.tolist())
        ]

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        return self.visualizer.visualize_cls(
            image,
            sample,
            classes=self.inferencer.classes,
            draw_gt=False,
            resize=SIDE if min(image.shape[:2]) < SIDE else None,
        )


class Detection(Task):
    """Finds boxes, and masks if the model predicts them.

    Args:
        inferencer: As for :class:`Task`.
        score_thr: Detections are kept if their score is above.
    """

    def __init__(self, inferencer: Any, score_thr: float) -> None:
        super().__init__(inferencer)
        self.score_thr = score_thr

    def predict(self, image: np.ndarray) -> Any:
        """The sample of an image, without the detections of low score."""
        _, batch = next(self.inferencer.preprocess([image]))
        sample = self.inferencer.forward(batch)[0].cpu()
        found = sample.pred_instances
        # The same comparison as in the visualizer.
        sample.pred_instances = found[found.scores > self.score_thr]
        return sample

    def annotations(self, sample: Any) -> list[dict]:
        """One annotation per detection, with its mask as RLE if there is one."""
        found = self.inferencer.pred2dict(sample)
        annotations = []
        for label, score, (x1, y1, x2, y2) in zip(
            found['labels'], found['scores'], found['bboxes']
        ):
            w, h = x2 - x1, y2 - y1
            annotations.append(
                dict(
                    category_id=label,
                    bbox=[x1, y1, w, h],
                    score=score,
                    area=w * h,
                    iscrowd=0,
                )
            )
        if 'masks' in found:
            from pycocotools.mask import area

            for annotation, rle in zip(annotations, found['masks']):
                annotation.update(segmentation=rle, area=int(area(rle)))
        return annotations

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        return self.inferencer.visualize(
            [image], [sample], return_vis=True, pred_score_thr=self.score_thr
        )[0]


class Segmentation(Task):
    """Finds the class of each pixel."""

    def __init__(self, inferencer: Any) -> None:
        super().__init__(inferencer)
        num_classes = len(inferencer.model.dataset_meta['classes'])
        self.dtype = np.uint8 if num_classes <= 256 else np.uint16

    def mask(self, sample: Any) -> np.ndarray:
        """The class of each pixel (h, w), uint8 or, for many classes, uint16."""
        return sample.pred_sem_seg.data[0].numpy().astype(self.dtype)

    def annotations(self, sample: Any) -> list[dict]:
        """One annotation per class in the image, with its pixels as RLE."""
        from pycocotools.mask import area, encode, toBbox

        mask = self.mask(sample)
        annotations = []
        for label in np.unique(mask).tolist():
            rle = encode(np.asfortranarray(mask == label, np.uint8))
            annotations.append(
                dict(
                    category_id=label,
                    segmentation=dict(rle, counts=rle['counts'].decode()),
                    area=int(area(rle)),
                    bbox=toBbox(rle).tolist(),
                    iscrowd=0,
                )
            )
        return annotations

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        return self.inferencer.visualize(
            [image], [sample], return_vis=True, opacity=OPACITY
        )[0]


def make_task(model: nn.Module, cfg: Config, score_thr: float) -> Task:
    """The task of a model.

    Args:
        model: Model with ``dataset_meta``: names and colours of its classes,
            ``classes`` and ``palette``.
        cfg: Its config.
        score_thr: As for :class:`Detection`.

    Raises:
        ModuleNotFoundError: If a package is missing.
    """
    if cfg.default_scope == 'mmseg':
        check_installed('pycocotools')
    if 'visualizer' in cfg:
        # The tasks write the pictures themselves.
        cfg.visualizer.vis_backends = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        inferencer = _make_inferencer(model, cfg)
        if cfg.default_scope == 'mmdet':
            return Detection(inferencer, score_thr)
        if cfg.default_scope == 'mmseg':
            return Segmentation(inferencer)
        return Classification(inferencer)


def _make_inferencer(model: nn.Module, cfg: Config) -> Any:
    """OpenMMLab's inferencer for a loaded model.

    The inferencers expect to load the model themselves, which only warns if
    weights do not fit. They have no public way to take a loaded model with
    its config, so this function sets private members, and no other does.
    """
    if cfg.default_scope == 'mmpretrain':
        from mmpretrain.apis import ImageClassificationInferencer

        # Set by get_model; the inferencer reads the test pipeline from it.
        model._config = cfg
        return ImageClassificationInferencer(
            model, pretrained=False, classes=model.dataset_meta['classes']
        )
    if cfg.default_scope == 'mmdet':
        from mmdet.apis import DetInferencer as Inferencer

        visualizer = 'DetLocalVisualizer'
    else:
        from mmseg.apis import MMSegInferencer as Inferencer

        visualizer = 'SegLocalVisualizer'

    class LoadedInferencer(Inferencer):
        def _init_model(self, *args: Any) -> nn.Module:
            return model

    cfg.setdefault('visualizer', dict(type=visualizer))
    inferencer = LoadedInferencer(cfg)
    if cfg.default_scope == 'mmseg':
        # The original sorts all pixels of a class in Python, which takes ten
        # times as long as the network.
        inferencer.visualizer._get_center_loc = label_place
    return inferencer


def label_place(mask: np.ndarray) -> np.ndarray:
    """Where mmseg writes the name of a class: x, y.

    This is the middle pixel of the class in the row with the most of them.

    Args:
        mask: The pixels of the class, (h, w), 0 or 1.
    """
    y = mask.sum(axis=1).argmax()
    columns = mask[y].nonzero()[0]
    return np.array([columns[len(columns) // 2], y])
