"""What docs/after_training.md shows, but does not run."""

import argparse
import re
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from lightvit_mm import cfg_options, cli
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

from .processes import NO_WORKERS, check
from .processes import cfg_options as arguments

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs/after_training.md').read_text()
BLOCKS = re.findall(r'```text\n(.*?)```', PAGE, re.S)


def test_four_channels_are_trained(tmp_path):
    pytest.importorskip('mmseg')
    [text] = [block for block in BLOCKS if block.startswith('_base_')]
    (tmp_path / 'four.py').write_text(text.replace('./configs', f'{ROOT}/configs'))
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/classes.txt').write_text('dark\nlight\n')
    for split in ('train', 'val'):
        for folder, shape in (('img_dir', (64, 64, 4)), ('ann_dir', (64, 64))):
            path = tmp_path / 'data' / folder / split
            path.mkdir(parents=True)
            top = 256 if folder == 'img_dir' else 2
            cv2.imwrite(f'{path}/0.png', np.random.randint(0, top, shape, np.uint8))
    settings = {
        'data_root': 'data',
        'train_cfg.max_iters': 1,
        'train_cfg.val_interval': 1,
        'train_dataloader.batch_size': 2,
        'train_dataloader.dataset.pipeline.2.scale': (64, 64),
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
        'model.data_preprocessor.size': (64, 64),
        **NO_WORKERS,
    }
    check(
        [sys.executable, ROOT / 'tools/train.py', 'four.py', *arguments(settings)],
        tmp_path,
    )
    [best] = tmp_path.glob('work_dirs/four/best_*.pth')
    weights = torch.load(best, weights_only=False)['state_dict']
    assert weights['backbone.patch_embed.stem.0.weight'].shape[1] == 4


def options(start):
    """The options of a block, as the tools read them."""
    [block] = [block for block in BLOCKS if block.startswith(start)]
    parser = argparse.ArgumentParser()
    cli.add_config(parser)
    args = parser.parse_args(['CONFIG', '--cfg-options', *shlex.split(block)])
    return args.cfg_options


@pytest.mark.parametrize(
    'name, start, head',
    [
        ('finetune_lightvit_t', 'model.head', 'head'),
        ('finetune_mask_rcnn_lightvit_t', 'model.roi_head', 'roi_head.bbox_head'),
    ],
)
def test_class_weights_multiply_the_loss(name, start, head):
    """A loss of one class, with the weight 5 instead of 1."""
    cfg = read_config(f'lightvit_mm::{name}.py')
    pytest.importorskip(cfg.default_scope)
    cfg_options.merge(cfg, options(start))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        cfg.model.backbone.init_cfg = None
        head = build_model(cfg).get_submodule(head)
    loss = getattr(head, 'loss_cls', None) or head.loss_module
    logits = torch.randn(1, len(loss.class_weight))
    labels = torch.tensor([1])
    if getattr(loss, 'use_soft', False):  # mixup and cutmix make scores from labels
        labels = torch.eye(len(loss.class_weight))[labels]
    expected = -5 * logits.log_softmax(1)[0, 1]
    torch.testing.assert_close(loss(logits, labels), expected)
