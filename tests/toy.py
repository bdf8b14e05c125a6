"""A network of one layer, which trains in a moment."""

import copy
from typing import ClassVar
from uuid import uuid4

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.zeros_(self.layer.bias)

    def forward(self, inputs, mode):
        loss = (self.layer(torch.stack(inputs)) - 1).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


class ToyData(torch.utils.data.Dataset):
    # Dataset classes keep the ConfigDict of their config.
    metainfo: ClassVar = dict(classes=('a', 'b'), skeleton=ConfigDict(links=[(0, 1)]))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index, 1 - 0.5 * index]))


class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(data_samples[0].item())

    def compute_metrics(self, results):
        return dict(score=np.float32(np.mean(results)))


def make_runner(
    work_dir, scheduler=None, max_epochs=2, checkpoint=(), train_cfg=None, **settings
):
    """A runner that trains and validates for some epochs of two iterations.

    Args:
        work_dir: Its folder.
        scheduler: Its param_scheduler.
        max_epochs: Number of epochs.
        checkpoint: Settings of its CheckpointHook.
        train_cfg: Its loop, if not of epochs.
        settings: Other settings of Runner.
    """
    loader = dict(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=ToyData(),
    )
    return Runner(
        Toy(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=train_cfg
        or dict(by_epoch=True, max_epochs=max_epochs, val_interval=1),
        val_cfg=dict(),
        val_evaluator=Evaluator(ToyMetric()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, betas=(0.8, 0.9))),
        param_scheduler=copy.deepcopy(scheduler),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint={
                **dict(type='CheckpointHook', interval=1),
                **dict(save_best='score', rule='less'),
                **dict(checkpoint),
            }
        ),
        experiment_name=str(uuid4()),
        log_level='WARNING',
        **settings,
    )
