"""Short training runs of each task, with everything random that the configs use.

As a program, it trains a config in each process of torchrun, once without a stop
and once resumed from each checkpoint of the first run.
"""

import argparse
import json
import random
import uuid
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from mmengine.runner.checkpoint import find_latest_checkpoint

from lightvit_mm.cli import build_runner
from lightvit_mm.engine.distributed import distribute_on_cpu, leave_process_group

from .. import small

NUM_IMAGES = 9
MAX_EPOCHS = 2


def write_data(root):
    """Images upright and lying, class folders, COCO annotations and masks."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(NUM_IMAGES):
        height, width = [(48, 64), (64, 48)][i % 2]
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        mask = rng.integers(0, 4, (height // 16, width // 16), np.uint8)
        mask = mask.repeat(16, 0).repeat(16, 1)
        for path, content in (
            (root / f'classes/{i % 5}/{i}.png', image),
            (root / f'images/{i}.png', image),
            (root / f'masks/{i}.png', mask),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), content)
        images.append(dict(id=i, file_name=f'{i}.png', height=height, width=width))
        for x, y, side in ((5, 8, 20), (20, 22, 24)):
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=i % 10,
                    bbox=[x, y, side, side],
                    area=side**2,
                    segmentation=[corners],
                    iscrowd=0,
                )
            )
    categories = [dict(id=i, name=str(i)) for i in range(10)]
    (root / 'coco.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def classifier(root):
    cfg = small.classifier()
    cfg.model.backbone.drop_path_rate = 0.3
    cfg.model.train_cfg = dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]
    )
    cfg.train_dataloader = dict(
        batch_size=2,
        dataset=dict(
            type='CustomDataset',
            data_root=str(root / 'classes'),
            pipeline=[
                small.LOAD,
                dict(type='RandomResizedCrop', scale=32),
                dict(type='RandomFlip', prob=0.5),
                dict(
                    type='RandAugment',
                    policies='timm_increasing',
                    num_policies=2,
                    total_level=10,
                    magnitude_level=9,
                    magnitude_std=0.5,
                ),
                dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
                dict(type='DrawNumbers'),
                dict(type='PackInputs', meta_keys=('img_path', 'numbers')),
            ],
        ),
    )
    return cfg


def detector(root):
    cfg = small.detector()
    pipeline = [
        small.LOAD,
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='RandomChoiceResize', scales=[(64, 64), (80, 80)], keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    train_cfg = cfg.model.train_cfg
    train_cfg.rpn.sampler.num = train_cfg.rcnn.sampler.num = 16
    train_cfg.rpn_proposal.max_per_img = 30
    cfg.model.backbone.drop_path_rate = 0.3
    return Config(
        dict(
            default_scope='mmdet',
            model=cfg.model.to_dict(),
            train_dataloader=dict(
                batch_size=2,
                batch_sampler=dict(type='AspectRatioBatchSampler'),
                dataset=dict(
                    type='CocoDataset',
                    data_root=str(root),
                    ann_file='coco.json',
                    data_prefix=dict(img='images/'),
                    metainfo=dict(classes=tuple('0123456789')),
                    pipeline=pipeline,
                ),
            ),
        )
    )


def segmentor(root):
    cfg = small.segmentor()
    cfg.model.backbone.drop_path_rate = 0.3
    cfg.model.decode_head.dropout_ratio = 0.1
    cfg.model.data_preprocessor.size = (48, 48)
    cfg.train_dataloader = dict(
        batch_size=2,
        dataset=dict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            img_suffix='.png',
            metainfo=dict(classes=tuple('abcd')),
            pipeline=[
                small.LOAD,
                dict(type='LoadAnnotations'),
                dict(
                    type='RandomResize',
                    scale=(96, 64),
                    ratio_range=(0.8, 2.0),
                    keep_ratio=True,
                ),
                dict(type='RandomCrop', crop_size=(48, 48), cat_max_ratio=0.75),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion'),
                dict(type='PackSegInputs'),
            ],
        ),
    )
    return cfg


TASKS = dict(classifier=classifier, detector=detector, segmentor=segmentor)
WORKERS = {
    'no_workers': dict(num_workers=0, persistent_workers=False),
    'workers': dict(num_workers=2, persistent_workers=False),
    'persistent': dict(num_workers=2, persistent_workers=True),
}


def run_config(
    root,
    task,
    loop='epochs',
    workers='no_workers',
    sampler='DefaultSampler',
    seed=3,
    interval=1,
):
    """A run of two epochs, or ten iterations.

    Args:
        root: Folder with the data of :func:`write_data`.
        task: Key of TASKS.
        loop: 'epochs' or 'iterations'.
        workers: Key of WORKERS.
        sampler: Type of the sampler.
        seed: Seed of the run, or None for a random one.
        interval: Iterations from one checkpoint to the next.
    """
    cfg = TASKS[task](root)
    # Without the keys that testing alone needs.
    cfg.pop('test_dataloader', None)
    by_epoch = loop == 'epochs'
    num_iters = MAX_EPOCHS * (NUM_IMAGES // 2 + 1)
    cfg.merge_from_dict(
        dict(
            train_dataloader=dict(sampler=dict(type=sampler), **WORKERS[workers]),
            train_cfg=dict(by_epoch=True, max_epochs=MAX_EPOCHS)
            if by_epoch
            else dict(by_epoch=False, max_iters=num_iters),
            optim_wrapper=dict(
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
                clip_grad=dict(max_norm=10),
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', interval=interval, by_epoch=False
                ),
                logger=dict(type='LoggerHook', interval=1),
                exact_resume=dict(type='lightvit_mm.ExactResumeHook'),
            ),
            custom_hooks=[
                dict(type='EMAHook', momentum=0.1),
                dict(type='SaveEpochs'),
                dict(type='RecordNumbers'),
            ],
            log_processor=dict(by_epoch=by_epoch),
            randomness=dict(seed=seed),
            # One learning rate follows the iterations, another the epochs.
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
                dict(type='CosineAnnealingLR', by_epoch=by_epoch, T_max=num_iters),
            ],
        )
    )
    return cfg


@HOOKS.register_module()
class SaveEpochs(Hook):
    """Saves each epoch as by_epoch=True does; CheckpointHook saves iterations."""

    priority = 'VERY_LOW'

    def after_train_epoch(self, runner):
        if runner.epoch + 1 < runner.max_epochs:
            runner.save_checkpoint(runner.work_dir, f'epoch_{runner.epoch + 1}.pth')


def draw():
    return [random.random(), np.random.random(), torch.rand(()).item()]


@TRANSFORMS.register_module()
class DrawNumbers:
    """Draws from each generator while an image is loaded."""

    num_calls = 0

    def __call__(self, results):
        DrawNumbers.num_calls += 1
        return dict(results, numbers=draw())


@HOOKS.register_module()
class RecordNumbers(Hook):
    """Saves what was drawn in each iteration, and the images, to work_dir."""

    def before_train(self, runner):
        self.record = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        self.record.append(
            dict(
                step=draw(),
                load=[sample.get('numbers') for sample in samples],
                images={
                    Path(sample.img_path).stem: image
                    for sample, image in zip(samples, data_batch['inputs'])
                },
            )
        )

    def after_train(self, runner):
        torch.save(self.record, Path(runner.work_dir, f'record_{runner.rank}.pt'))


def train(cfg, work_dir, checkpoint=None):
    """Run or resume a config; the content of its last checkpoint."""
    cfg = Config(cfg.to_dict())
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = uuid.uuid4().hex
    if checkpoint is not None:
        cfg.update(resume=True, load_from=str(checkpoint))
        # Only the last checkpoint is needed, and saving takes long.
        cfg.default_hooks.checkpoint.interval = 1000
    runner = build_runner(cfg)
    runner.train()
    barrier()  # The first process alone saves.
    # End the workers. The garbage collector would wait for each for 5 seconds.
    vars(runner.train_loop).pop('dataloader_iterator', None)
    runner.train_dataloader._iterator = None
    return torch.load(find_latest_checkpoint(work_dir), weights_only=False)


def differences(one, other):
    """Names of weights and of optimizer states that differ in any bit."""
    flat = [
        {
            **content['state_dict'],
            **{f'ema.{k}': v for k, v in content['ema_state_dict'].items()},
            **{
                f'optimizer.{k}.{name}': v
                for k, state in content['optimizer']['state'].items()
                for name, v in state.items()
            },
        }
        for content in (one, other)
    ]
    assert flat[0].keys() == flat[1].keys()
    return [name for name, value in flat[0].items() if not value.equal(flat[1][name])]


def resume_everywhere(cfg, folder, stops=None):
    """Train once without a stop, and resume after each stop.

    Args:
        cfg: Config of the runs.
        folder: Folder for their work dirs.
        stops: Names of the checkpoints to resume from; default: all.

    Returns:
        Names of what differs in the end, by checkpoint.
    """
    folder = Path(folder)
    uninterrupted = train(cfg, folder / 'uninterrupted')
    last = f'iter_{uninterrupted["meta"]["iter"]}'
    if stops is None:
        stops = {path.stem for path in folder.glob('uninterrupted/*.pth')} - {last}
    return {
        stop: differences(
            uninterrupted,
            train(cfg, folder / stop, folder / f'uninterrupted/{stop}.pth'),
        )
        for stop in sorted(stops)
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('folder', type=Path)
    parser.add_argument('--stops', nargs='*')
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.launcher = 'pytorch'
    distribute_on_cpu(cfg)
    result = resume_everywhere(cfg, args.folder, args.stops)
    if torch.distributed.get_rank() == 0:
        (args.folder / 'differences.json').write_text(json.dumps(result))
    leave_process_group()


if __name__ == '__main__':
    main()
