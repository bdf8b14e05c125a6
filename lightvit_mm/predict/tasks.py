"""mm's inferencers, with one face for the three libraries.

A sample is what a model returns for an image: mm's data sample, on the CPU.
"""

from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ..config import check_installed

TOP = 5  # classes of a classified image
SIDE = 224  # pixels that the shorter side of its picture has at least
OPACITY = 0.5  # of the colours of a segmented image


class Task:
    """A model that predicts and draws what it has predicted.

    Args:
        inferencer: mm's, on the model.
    """

    def __init__(self, inferencer: Any) -> None:
        self.inferencer = inferencer

    def predict(self, image: np.ndarray) -> Any:
        """The sample of an image, BGR, uint8, (h, w, 3)."""
        batch = next(self.inferencer.preprocess([image]))
        return self.inferencer.forward(batch)[0].cpu()

    def annotations(self, sample: Any) -> list[dict]:
        """A sample for :meth:`lightvit_mm.predict.predict.CocoStream.add`."""
        raise NotImplementedError

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The image, as in :meth:`predict`, with its sample drawn in it."""
        rgb = self._draw(mmcv.bgr2rgb(image), sample)
        return mmcv.rgb2bgr(rgb)

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """RGB to RGB, as the visualizers have it."""
        raise NotImplementedError

    def mask(self, sample: Any) -> np.ndarray | None:
        """The class of each pixel, (h, w), if the model is a segmentor."""
        return None


class Classification(Task):
    """The most likely classes; the first is drawn.

    Small images are enlarged for that, or it could not be read.
    """

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        from mmpretrain.apis import ImageClassificationInferencer
        from mmpretrain.visualization import UniversalVisualizer

        model._config = cfg
        model._dataset_meta = model.dataset_meta
        super().__init__(ImageClassificationInferencer(model, False))
        self.visualizer = UniversalVisualizer()

    def annotations(self, sample: Any) -> list[dict]:
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
    """Boxes, and masks if the model has them.

    Args:
        model: Detector.
        cfg: Its config.
        score_thr: Score that a detection has to exceed.
    """

    def __init__(self, model: nn.Module, cfg: Config, score_thr: float) -> None:
        from mmdet.apis import DetInferencer

        cfg.setdefault('visualizer', dict(type='DetLocalVisualizer'))
        super().__init__(_on_model(DetInferencer, model)(cfg))
        self.score_thr = score_thr

    def predict(self, image: np.ndarray) -> Any:
        _, batch = next(self.inferencer.preprocess([image]))
        sample = self.inferencer.forward(batch)[0].cpu()
        found = sample.pred_instances
        # As the visualizer chooses.
        sample.pred_instances = found[found.scores > self.score_thr]
        return sample

    def annotations(self, sample: Any) -> list[dict]:
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
    """The class of each pixel."""

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        check_installed('pycocotools')
        from mmseg.apis import MMSegInferencer

        cfg.setdefault('visualizer', dict(type='SegLocalVisualizer'))
        super().__init__(_on_model(MMSegInferencer, model)(cfg))
        # mm's own sorts all pixels of the class in Python, which takes ten
        # times as long as the network.
        self.inferencer.visualizer._get_center_loc = label_place
        num_classes = len(model.dataset_meta['classes'])
        self.dtype = np.uint8 if num_classes <= 256 else np.uint16

    def mask(self, sample: Any) -> np.ndarray:
        return sample.pred_sem_seg.data[0].numpy().astype(self.dtype)

    def annotations(self, sample: Any) -> list[dict]:
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


def label_place(mask: np.ndarray) -> np.ndarray:
    """Where mmseg writes the name of a class: x, y.

    It is the middle pixel in the row that has the most.

    Args:
        mask: The pixels of the class, (h, w), 0 or 1.
    """
    y = mask.sum(axis=1).argmax()
    columns = mask[y].nonzero()[0]
    return np.array([columns[len(columns) // 2], y])


def _on_model(inferencer: type, model: nn.Module) -> type:
    """An inferencer for a model that is loaded.

    Its own loading only warns of weights that do not fit, and looks for the
    test data.
    """

    class OnModel(inferencer):
        def _init_model(self, *args: Any) -> nn.Module:
            return model

    return OnModel


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
    if 'visualizer' in cfg:
        # Pictures go where they are wanted, and nowhere else.
        cfg.visualizer.vis_backends = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if cfg.default_scope == 'mmdet':
            return Detection(model, cfg, score_thr)
        if cfg.default_scope == 'mmseg':
            return Segmentation(model, cfg)
        return Classification(model, cfg)
