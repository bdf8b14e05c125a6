"""Mask R-CNN as tensor operations on the whole batch.

mmdet's test path loops over the images, and each has a different number of boxes.
Here every image has a fixed number of rows at each step, and empty rows have a
score of -1. The modules, settings and results are mmdet's.

Shapes: B images, R proposals and D detections per image, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models import (
    FCNMaskHead,
    RPNHead,
    Shared2FCBBoxHead,
    SingleRoIExtractor,
    StandardRoIHead,
    TwoStageDetector,
)
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from .modules import Exportable, ExportError


class MaskRCNN(Exportable):
    """From images and their sizes to boxes, scores, labels and masks.

    ``sizes`` (B, 2) are the heights and widths of the images without the padding
    of the batch. Boxes (B, D, 4) are x1, y1, x2, y2 in pixels of the images, by
    descending score (B, D). Empty rows have a score of -1 and are zero otherwise.
    Labels (B, D) count the classes from 0. Masks (B, D, 28, 28) are probabilities
    within the box; a Faster R-CNN has none.
    """

    task = 'detection'
    inputs = ('images', 'sizes')

    def __init__(self, model: nn.Module) -> None:
        _check(model)
        super().__init__(model)
        self.num_classes = model.roi_head.bbox_head.num_classes
        self.outputs = ('boxes', 'scores', 'labels')
        if model.with_mask:
            self.outputs += ('masks',)

    def example(self, h: int, w: int, batch: int = 2) -> tuple[Tensor, ...]:
        """Random images of h by w pixels, and their sizes."""
        sizes = torch.tensor([[h, w]] * batch, dtype=torch.float)
        return (torch.randn(batch, 3, h, w), sizes)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, h, w) and sizes (B, 2) to the outputs."""
        maps = self.model.extract_feat(images)
        # The NMS separates images and classes by this offset.
        cell = torch.cat([sizes.amax(dim=0), sizes.amax(dim=0)]).flip(0) + 1
        limits = torch.cat([sizes, sizes], dim=1).flip(1)[:, None]
        proposals, are_proposals = self._propose(maps, limits, cell)
        boxes, scores, labels = self._classify(
            maps, proposals, are_proposals, limits, cell
        )
        if not self.model.with_mask:
            return boxes, scores, labels
        masks = self._masks(maps, boxes, labels)
        # Runtimes differ in their results for a box without area.
        masks = masks.masked_fill(scores[..., None, None] < 0, 0)
        return boxes, scores, labels, masks

    def _propose(
        self, maps: Sequence[Tensor], limits: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Proposals (B, R, 4) and whether each row holds one (B, R)."""
        head = self.model.rpn_head
        cfg = head.test_cfg
        anchors = head.prior_generator.grid_priors(
            [x.shape[-2:] for x in maps], device=maps[0].device
        )
        levels = []
        for logits, deltas, priors in zip(*head(maps), anchors):
            B = logits.shape[0]
            scores = logits.permute(0, 2, 3, 1).reshape(B, -1).sigmoid()
            deltas = deltas.permute(0, 2, 3, 1).reshape(B, -1, 4)
            priors = priors.expand(B, -1, 4)
            levels.append(_best(cfg.nms_pre, scores, priors, deltas))
        scores, priors, deltas = (torch.cat(x, dim=1) for x in zip(*levels))
        boxes = _decode(head.bbox_coder, priors, deltas, limits)
        if cfg.min_bbox_size >= 0:
            sides = boxes[..., 2:] - boxes[..., :2]
            is_large = (sides > cfg.min_bbox_size).all(dim=2)
            scores = scores.masked_fill(~is_large, -1.0)
        level = torch.arange(len(levels)).repeat_interleave(cfg.nms_pre)
        scores = _suppress(boxes, scores, level.to(boxes), cell, cfg.nms.iou_threshold)
        scores, boxes = _best(cfg.max_per_img, scores, boxes)
        return boxes, scores >= 0

    def _classify(
        self,
        maps: Sequence[Tensor],
        proposals: Tensor,
        are_proposals: Tensor,
        limits: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, D, 4), scores (B, D) and labels (B, D)."""
        head, cfg = self.model.roi_head.bbox_head, self.model.roi_head.test_cfg
        B, R, K = *proposals.shape[:2], self.num_classes
        extractor = self.model.roi_head.bbox_roi_extractor
        logits, deltas = head(_roi_features(extractor, maps, proposals))
        scores = logits.softmax(dim=1)[:, :K].view(B, R, K)
        is_found = are_proposals[..., None] & (scores > cfg.score_thr)
        scores = scores.masked_fill(~is_found, -1.0)
        deltas = deltas.view(B, R, -1, 4).expand(-1, -1, K, -1)
        boxes = proposals[:, :, None].expand(-1, -1, K, -1)
        boxes = _decode(
            head.bbox_coder, boxes.reshape(B, -1, 4), deltas.reshape(B, -1, 4), limits
        )
        label = torch.arange(K, device=boxes.device).expand(B, R, K).reshape(B, -1)
        scores = _suppress(
            boxes, scores.view(B, -1), label.to(boxes), cell, cfg.nms.iou_threshold
        )
        scores, boxes, labels = _best(cfg.max_per_img, scores, boxes, label[..., None])
        return boxes, scores, labels.squeeze(2)

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """The masks of the boxes, for their labels: (B, D, 28, 28)."""
        extractor = self.model.roi_head.mask_roi_extractor
        head = self.model.roi_head.mask_head
        logits = head(_roi_features(extractor, maps, boxes))
        if not head.class_agnostic:
            rows = torch.arange(logits.shape[0], device=logits.device)
            logits = logits[rows, labels.flatten()][:, None]
        return logits.sigmoid().view(*boxes.shape[:2], *logits.shape[2:])


def _best(k: int, scores: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """The k rows of each image with the highest scores.

    If there are fewer, the rest is filled with empty rows.

    Args:
        k: Number of rows to keep.
        scores: Shape (B, N).
        others: Tensors (B, N, C) with the same rows.
    """
    scores, index = F.pad(scores, (0, k), value=-1.0).topk(k, dim=1)
    best = [scores]
    for x in others:
        rows = index[..., None].expand(-1, -1, x.shape[2])
        x = F.pad(x, (0, 0, 0, k)).gather(1, rows)
        best.append(x.masked_fill(scores[..., None] < 0, 0))
    return tuple(best)


def _decode(
    coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor, limits: Tensor
) -> Tensor:
    """Apply deltas (B, N, 4) to boxes (B, N, 4) and clip them to limits (B, 1, 4)."""
    decoded = coder.decode(boxes.reshape(-1, 4), deltas.reshape(-1, 4))
    decoded = decoded.view(boxes.shape)
    if coder.clip_border:
        decoded = torch.minimum(decoded.clamp(min=0), limits)
    return decoded


def _suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, cell: Tensor, iou_threshold: float
) -> Tensor:
    """Set the scores of boxes that overlap a better one to -1.

    A single NMS serves all images and groups: boxes are moved into the cells of a
    grid with one row per image and one column per group.

    Args:
        boxes: Shape (B, N, 4).
        scores: Shape (B, N).
        groups: Index of the group of each box, (N, ) or (B, N).
        cell: Width, height, width, height of a cell.
        iou_threshold: Maximum IoU of two boxes of the same group.

    Returns:
        Scores (B, N).
    """
    rows = torch.arange(boxes.shape[0], device=boxes.device).to(boxes)
    rows, columns = rows[:, None].expand_as(scores), groups.expand_as(scores)
    corners = boxes + torch.stack([columns, rows] * 2, dim=2) * cell
    flat = scores.flatten()
    candidates = (flat >= 0).nonzero().squeeze(1)
    kept = candidates[
        nms(corners.view(-1, 4)[candidates], flat[candidates], iou_threshold)
    ]
    return torch.full_like(flat, -1).scatter(0, kept, flat[kept]).view(scores.shape)


def _roi_features(
    extractor: SingleRoIExtractor, maps: Sequence[Tensor], boxes: Tensor
) -> Tensor:
    """RoIAlign of each box (B, N, 4) on its level: (B * N, C, size, size)."""
    image = torch.arange(boxes.shape[0], device=boxes.device).to(boxes)
    image = image[:, None, None].expand(-1, boxes.shape[1], 1)
    rois = torch.cat([image, boxes], dim=2).view(-1, 5)
    layers = extractor.roi_layers
    level = extractor.map_roi_levels(rois, len(layers))
    rows, features = [], []
    for i, layer in enumerate(layers):
        rows.append((level == i).nonzero().squeeze(1))
        features.append(
            roi_align(
                maps[i],
                rois[rows[-1]],
                layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
        )
    return torch.cat(features)[torch.cat(rows).argsort()]


def _check(model: nn.Module) -> None:
    """Raise ExportError unless a model is a Mask R-CNN or Faster R-CNN."""
    if not isinstance(model, TwoStageDetector):
        raise ExportError(
            f'This {type(model).__name__} cannot be exported: expected a '
            'MaskRCNN or FasterRCNN; --part backbone exports its backbone'
        )
    roi_head = model.roi_head
    parts = [
        ('rpn_head', model.rpn_head, RPNHead),
        ('rpn_head.prior_generator', model.rpn_head.prior_generator, AnchorGenerator),
        ('rpn_head.bbox_coder', model.rpn_head.bbox_coder, DeltaXYWHBBoxCoder),
        ('roi_head', roi_head, StandardRoIHead),
    ]
    if type(roi_head) is StandardRoIHead:
        parts += [
            (
                'roi_head.bbox_roi_extractor',
                roi_head.bbox_roi_extractor,
                SingleRoIExtractor,
            ),
            ('roi_head.bbox_head', roi_head.bbox_head, Shared2FCBBoxHead),
            (
                'roi_head.bbox_head.bbox_coder',
                roi_head.bbox_head.bbox_coder,
                DeltaXYWHBBoxCoder,
            ),
        ]
        if model.with_mask:
            parts += [
                (
                    'roi_head.mask_roi_extractor',
                    roi_head.mask_roi_extractor,
                    SingleRoIExtractor,
                ),
                ('roi_head.mask_head', roi_head.mask_head, FCNMaskHead),
            ]
    for name, part, expected in parts:
        if type(part) is not expected:
            raise ExportError(
                f'{name} of type {type(part).__name__} cannot be exported: '
                f'expected {expected.__name__}; --part backbone exports the '
                'backbone'
            )
    for name, cfg in (('rpn', model.test_cfg.rpn), ('rcnn', model.test_cfg.rcnn)):
        _check_nms(name, cfg.nms)


def _check_nms(name: str, nms_cfg: ConfigDict) -> None:
    if nms_cfg.get('type', 'nms') != 'nms' or not set(nms_cfg) <= {
        'type',
        'iou_threshold',
    }:
        raise ExportError(
            f'test_cfg.{name}.nms={dict(nms_cfg)} cannot be exported: '
            "expected type='nms' with an iou_threshold"
        )
