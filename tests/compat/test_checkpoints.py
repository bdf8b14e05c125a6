"""mmengine loads its own checkpoints and executes nothing in others."""

import builtins
import copy
import functools
import io
import os
import subprocess
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import Runner, load_checkpoint

from lightvit_mm.safe_load import RefusedError

restricted_loader = pytest.mark.skipif(
    torch.__version__ < '2.6', reason='torch.load is not restricted'
)


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


def make_runner(work_dir, scheduler, **settings):
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
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(),
        val_evaluator=Evaluator(ToyMetric()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, betas=(0.8, 0.9))),
        param_scheduler=copy.deepcopy(scheduler),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, save_best='score', rule='less'
            )
        ),
        experiment_name=str(uuid4()),
        log_level='ERROR',
        **settings,
    )


SCHEDULERS = [
    dict(type='OneCycleLR', eta_max=0.2, total_steps=4, by_epoch=False),
    dict(
        type='OneCycleLR',
        eta_max=0.2,
        total_steps=4,
        by_epoch=False,
        anneal_strategy='linear',
    ),
    [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
        dict(type='MultiStepLR', milestones=[1]),
    ],
    dict(type='ReduceOnPlateauLR', monitor='score', patience=0),
    dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=False),
]


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_resumed_training_ends_like_an_uninterrupted_one(tmp_path, scheduler):
    whole = make_runner(tmp_path, scheduler)
    whole.train()
    resumed = make_runner(
        tmp_path, scheduler, load_from=str(tmp_path / 'epoch_1.pth'), resume=True
    )
    resumed.train()

    assert resumed.iter == whole.iter == 4
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], parameter)
    hubs = whole.message_hub, resumed.message_hub
    for name in ('train/lr', 'train/loss', 'val/score'):
        history, again = (hub.get_scalar(name).data for hub in hubs)
        np.testing.assert_array_equal(history, again)
    best, again = (hub.get_info('best_score') for hub in hubs)
    assert best == again and isinstance(again, np.float32)
    assert resumed.message_hub.get_info('dataset_meta') == ToyData.metainfo


def save_legacy(content):
    """A checkpoint in torch.save's old format, in which names can be replaced."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@restricted_loader
@pytest.mark.parametrize(
    'module', [b'numpy.core.multiarray', b'numpy._core.multiarray']
)
def test_arrays_of_numpy_1_and_2_are_read(module):
    own = np.empty(0).__reduce__()[0].__module__.encode()
    content = [np.arange(3.0), np.float32(0.5), np.array([True]), np.int64(2)]
    data = save_legacy(content)
    assert own + b'\n_reconstruct' in data and own + b'\nscalar' in data
    loaded = torch.load(io.BytesIO(data.replace(own, module)))
    for value, again in zip(content, loaded):
        np.testing.assert_array_equal(value, again)
        assert again.dtype == value.dtype


@restricted_loader
def test_history_keeps_its_statistics():
    """Its functions are the only ones in mmengine's checkpoints."""
    history = HistoryBuffer([1, 2, 6], [1, 1, 1])
    data = save_legacy(history)
    assert b'getattr' in data
    again = torch.load(io.BytesIO(data))
    assert [again.statistics(name) for name in ('min', 'max', 'mean')] == [
        1,
        6,
        3,
    ] and again.current() == 6


class Payload:
    """Unpickling it calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(marker):
    """Contents that create a file if the loader executes them."""
    shell = f'echo > {marker}'
    write = f'open({str(marker)!r}, "w")'
    return [
        Payload(os.system, shell),
        Payload(builtins.eval, write),
        Payload(builtins.exec, write),
        Payload(subprocess.getoutput, shell),
        Payload(functools.partial(os.system, shell)),
        Payload(Path.touch, marker),
        [Payload(getattr, Path(marker), 'touch')],
    ]


@pytest.mark.parametrize('index', range(7))
@restricted_loader
def test_checkpoint_with_code_is_refused(tmp_path, index):
    marker, file = tmp_path / 'marker', str(tmp_path / 'checkpoint.pth')
    content = dict(state_dict=Toy().state_dict())
    content['meta'] = payloads(marker)[index]
    torch.save(content, file)

    with pytest.raises(RefusedError, match='may carry code'):
        load_checkpoint(Toy(), file)
    runner = make_runner(tmp_path, SCHEDULERS[0], load_from=file, resume=True)
    with pytest.raises(RefusedError, match='may carry code'):
        runner.train()
    assert not marker.exists()
    if index < 6:  # the unsafe loader executes it
        torch.load(file, weights_only=False)
        assert marker.exists()


@restricted_loader
@pytest.mark.parametrize(
    'owner, name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '__dict__'),
        (HistoryBuffer, '__subclasses__'),
        (HistoryBuffer, '_statistics_methods'),
        (OneCycleParamScheduler, 'min'),
        (np.ndarray, 'tofile'),
        (torch.Tensor, 'min'),
    ],
)
def test_checkpoint_gets_no_other_attributes(tmp_path, owner, name):
    file = str(tmp_path / 'checkpoint.pth')
    torch.save(dict(state_dict=Payload(getattr, owner, name)), file)
    with pytest.raises(RefusedError, match='may carry code'):
        load_checkpoint(Toy(), file)
