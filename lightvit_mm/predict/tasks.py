"""OpenMMLab's inferencers, with one interface for the three libraries.

A sample is what a model returns for an image: OpenMMLab's data sample, on the
CPU.
"""

from typing import Any, ClassVar

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn

from ..files import PathLike
from ..installed import check_installed
from ..trained import image_pipeline, load_trained, pipeline_of
from .labels import keep_labels_inside

LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg')
TOP = 5  # classes listed for an image
# Pictures of a classification are enlarged until the shorter side has SIDE pixels or
# the longer side has LONGEST.
SIDE = 224
LONGEST = 4096
OPACITY = 0.5  # of the colours that a segmentor draws


class Task:
    """A model that predicts, and draws its predictions.

    Args:
        inferencer: OpenMMLab's inferencer, with the model.
        prepare: The transforms of the test pipeline after the loader.
    """

    columns: ClassVar = ['class', 'score']

    def __init__(self, inferencer: Any, prepare: Compose) -> None:
        self.inferencer = inferencer
        self.prepare = prepare
        self.classes = inferencer.model.dataset_meta['classes']

    def predict(self, loaded: dict) -> Any:
        """The sample of an image, from what the loader returned."""
        batch = pseudo_collate([self.prepare(loaded)])
        return self.inferencer.forward(batch)[0].cpu()

    def above(self, sample: Any, score_thr: float) -> Any:
        """The sample with only the detections whose score is above the threshold."""
        return sample

    def annotations(self, sample: Any) -> list[dict]:
        """The annotations for :meth:`lightvit_mm.predict.predict.CocoStream.add`."""
        raise NotImplementedError

    def rows(self, sample: Any) -> list[list[str]]:
        """One row of text per annotation, with the columns ``columns``."""
        return [
            [self.classes[found['category_id']], *self._describe(found, sample)]
            for found in self.annotations(sample)
        ]

    def _describe(self, annotation: dict, sample: Any) -> list[str]:
        """The columns of an annotation after its class."""
        return [f'{annotation["score"]:.3f}']

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The image, BGR, uint8, (h, w, 3), with its sample drawn in it."""
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

    def __init__(self, inferencer: Any, prepare: Compose) -> None:
        from mmpretrain.visualization import UniversalVisualizer

        super().__init__(inferencer, prepare)
        self.visualizer = UniversalVisualizer()
        keep_labels_inside(self.visualizer)

    def annotations(self, sample: Any) -> list[dict]:
        """One annotation per class: category_id and score."""
        scores = sample.pred_score
        top = scores.topk(min(TOP, len(scores)))
        return [
            dict(category_id=label, score=score)
            for label, score in zip(top.indices.tolist(), top.values.tolist())
        ]

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        short, long = sorted(image.shape[:2])
        side = min(SIDE, short * LONGEST // long)
        return self.visualizer.visualize_cls(
            image,
            sample,
            classes=self.inferencer.classes,
            draw_gt=False,
            resize=side if short < side else None,
        )


class Detection(Task):
    """Finds boxes, and masks if the model predicts them.

    Args:
        inferencer: As for :class:`Task`.
        prepare: As for :class:`Task`.
        score_thr: Detections are kept if their score is above.
    """

    columns: ClassVar = ['class', 'score', 'x, y, width, height']

    def __init__(self, inferencer: Any, prepare: Compose, score_thr: float) -> None:
        super().__init__(inferencer, prepare)
        self.score_thr = score_thr
        keep_labels_inside(inferencer.visualizer)

    def predict(self, loaded: dict) -> Any:
        """The sample of an image, without the detections of low score."""
        return self.above(super().predict(loaded), self.score_thr)

    def above(self, sample: Any, score_thr: float) -> Any:
        """The sample with only the detections whose score is above the threshold."""
        found = sample.pred_instances
        # The same comparison as in the visualizer.
        return sample.new(pred_instances=found[found.scores > score_thr])

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

    def _describe(self, annotation: dict, sample: Any) -> list[str]:
        box = ', '.join(f'{value:.0f}' for value in annotation['bbox'])
        return [*super()._describe(annotation, sample), box]

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        return self.inferencer.visualize(
            [image], [sample], return_vis=True, pred_score_thr=self.score_thr
        )[0]


class Segmentation(Task):
    """Finds the class of each pixel."""

    columns: ClassVar = ['class', 'share of the image']

    def __init__(self, inferencer: Any, prepare: Compose) -> None:
        super().__init__(inferencer, prepare)
        keep_labels_inside(inferencer.visualizer)
        self.dtype = np.uint8 if len(self.classes) <= 256 else np.uint16

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

    def _describe(self, annotation: dict, sample: Any) -> list[str]:
        return [f'{annotation["area"] / self.mask(sample).size:.1%}']

    def _draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        # Without the names: the original sorts all pixels of a class in Python, which
        # takes ten times as long as the network.
        coloured = self.inferencer.visualize(
            [image], [sample], return_vis=True, opacity=OPACITY, with_labels=False
        )[0]
        visualizer, mask = self.inferencer.visualizer, self.mask(sample)
        visualizer.set_image(coloured)
        meta = self.inferencer.model.dataset_meta
        for label in np.unique(mask).tolist():
            red, green, blue = (part / 255 for part in meta['palette'][label])
            visualizer.draw_texts(
                meta['classes'][label],
                label_place(mask == label),
                font_sizes=max(min(mask.shape) / 30, 6),
                colors='white',
                bboxes=dict(facecolor=(red, green, blue), edgecolor='black', pad=2),
            )
        return visualizer.get_image()


def load_task(
    cfg: Config, checkpoint: PathLike, score_thr: float, device: str = 'cpu'
) -> tuple[Task, Compose]:
    """The task of a config and a checkpoint, and the transform that loads an image.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        score_thr: As for :class:`Detection`.
        device: Device of the model.

    Raises:
        ValueError: If the checkpoint or the config cannot be used.
        OSError: If a file is missing.
        ModuleNotFoundError: If a package is missing.
    """
    scope = cfg.get('default_scope')
    if scope not in LIBRARIES:
        raise ValueError(
            f'default_scope={scope!r} of the config should be '
            f'one of {", ".join(LIBRARIES)}'
        )
    check_installed(scope)
    pipeline_of(cfg)
    model = load_trained(cfg, checkpoint, device)
    load, prepare = image_pipeline(cfg)
    return make_task(model, cfg, prepare, score_thr), load


def make_task(
    model: nn.Module, cfg: Config, prepare: Compose, score_thr: float
) -> Task:
    """The task of a model.

    Args:
        model: Model with ``dataset_meta``: names and colours of its classes,
            ``classes`` and ``palette``.
        cfg: Its config.
        prepare: As for :class:`Task`.
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
            return Detection(inferencer, prepare, score_thr)
        if cfg.default_scope == 'mmseg':
            return Segmentation(inferencer, prepare)
        return Classification(inferencer, prepare)


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
    return LoadedInferencer(cfg)


def label_place(mask: np.ndarray) -> np.ndarray:
    """Where to write the name of a class, as in mmseg: x, y.

    This is the middle pixel of the class in the row with the most of them.

    Args:
        mask: The pixels of the class, (h, w), 0 or 1.
    """
    y = mask.sum(axis=1).argmax()
    columns = mask[y].nonzero()[0]
    return np.array([columns[len(columns) // 2], y])
