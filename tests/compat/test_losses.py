"""The loss of a segmentor with class weights and ignored pixels."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip('mmseg')

from mmseg.models.losses import CrossEntropyLoss

import lightvit_mm  # noqa: F401


@pytest.mark.parametrize('ignored', [0, 7])
def test_class_weights_are_those_of_pytorch(ignored):
    torch.manual_seed(0)
    pred = torch.randn(2, 3, 5, 4)
    label = torch.randint(0, 3, (2, 5, 4))
    label.view(-1)[:ignored] = 255
    weights = [1.0, 5.0, 0.5]
    loss = CrossEntropyLoss(class_weight=weights)(pred, label, ignore_index=255)
    expected = F.cross_entropy(pred, label, torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(loss, expected)


def test_without_class_weights_the_loss_is_averaged_over_all_pixels():
    torch.manual_seed(0)
    pred = torch.randn(2, 3, 5, 4)
    label = torch.randint(0, 3, (2, 5, 4))
    label[0] = 255
    loss = CrossEntropyLoss()(pred, label, ignore_index=255)
    pixels = F.cross_entropy(pred, label, ignore_index=255, reduction='none')
    torch.testing.assert_close(loss, pixels.mean())
