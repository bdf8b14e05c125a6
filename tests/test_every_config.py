"""What every config in configs/ must do, in all three libraries."""

import copy
import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

from lightvit_mm.analysis.complexity import count_parameters
from lightvit_mm.metafile import find
from lightvit_mm.trained import build_model

for library in ('mmpretrain', 'mmdet', 'mmseg'):
    pytest.importorskip(library)

from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)

# Their networks differ from those of other configs in the size only, or not at all.
LARGER = [
    name
    for name in NAMES
    if re.search('_[sb](?=_)|_3x', name)
    and re.sub('_[sb](?=_)', '_t', name).replace('_3x', '_1x') in NAMES
]

# Reading takes most of the time of a short test.
read_config = functools.cache(Config.fromfile)

SIZE = 64  # of images; some classifiers take only one size
CLASSIFIER_SIZE = 224
# Two rectangles of two classes; each task gets boxes, masks or a map.
BOXES = [[5, 7, 44, 40], [30, 20, 60, 62]]


def image(library):
    size = CLASSIFIER_SIZE if library == 'mmpretrain' else SIZE
    return torch.randint(256, (3, size, size), dtype=torch.uint8)


def metainfo():
    return dict(
        img_id=0,
        ori_shape=(SIZE, SIZE),
        img_shape=(SIZE, SIZE),
        pad_shape=(SIZE, SIZE),
        batch_input_shape=(SIZE, SIZE),
        scale_factor=(1.0, 1.0),
    )


def classification_sample(side):
    return DataSample().set_gt_label(side % 2)


def rectangles():
    masks = np.zeros((len(BOXES), SIZE, SIZE), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES):
        mask[y1:y2, x1:x2] = 1
    return masks


def detection_sample(_):
    sample = DetDataSample(metainfo=metainfo())
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(BOXES, dtype=torch.float32),
        labels=torch.tensor([0, 1]),
        masks=BitmapMasks(rectangles(), SIZE, SIZE),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return sample


def segmentation_sample(_):
    sample = SegDataSample(metainfo=metainfo())
    labels = torch.from_numpy(rectangles().max(axis=0)).long()
    sample.gt_sem_seg = PixelData(data=labels[None])
    return sample


SAMPLES = dict(
    mmpretrain=classification_sample, mmdet=detection_sample, mmseg=segmentation_sample
)


def fewer_regions(settings):
    """Detectors sample and keep 8 regions instead of hundreds, for speed."""
    for key, value in settings.items():
        if key == 'sampler' and 'num' in value:
            value.num = 8
        elif key in ('max_per_img', 'num_queries'):
            settings[key] = 8
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                fewer_regions(child)


@pytest.fixture(
    params=[
        pytest.param(
            name, id=name[:-3], marks=[pytest.mark.slow] if name in LARGER else []
        )
        for name in NAMES
    ]
)
def cfg(request):
    cfg = copy.deepcopy(read_config(CONFIGS / request.param))
    fewer_regions(cfg.model)
    if cfg.default_scope == 'mmseg':
        cfg.model.data_preprocessor.size = (SIZE, SIZE)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        yield cfg


def check_prediction(library, prediction):
    if library == 'mmpretrain':
        assert prediction.pred_score.sum().item() == pytest.approx(1)
    elif library == 'mmseg':
        assert prediction.pred_sem_seg.data.shape == (1, SIZE, SIZE)
    else:
        found = prediction.pred_instances
        assert found.bboxes.shape == (len(found.labels), 4)
        inside = (found.bboxes >= 0) & (found.bboxes <= SIZE)
        assert inside.all() and found.scores.isfinite().all()
        if 'masks' in found:
            assert found.masks.shape[1:] == (SIZE, SIZE)


def test_trains_every_parameter_and_predicts(cfg):
    library = cfg.default_scope
    for part in ('backbone', 'neck'):  # nothing is downloaded
        init_cfg = (cfg.model.get(part) or {}).get('init_cfg') or {}
        if init_cfg.get('type') == 'Pretrained':
            cfg.model[part].init_cfg = None
    model = build_model(cfg).train()
    if 'num_queries' not in cfg.model:  # fewer_regions leaves the network alone
        metadata = find(cfg.filename)['Metadata']
        assert count_parameters(model) == metadata['Parameters']
    model.init_weights()
    settings = {**cfg.optim_wrapper, 'type': 'OptimWrapper'}  # no AMP
    settings.pop('loss_scale', None)
    optim_wrapper = build_optim_wrapper(model, settings)
    before = {
        name: parameter.detach().clone() for name, parameter in model.named_parameters()
    }

    batch = dict(
        inputs=[image(library) for _ in range(2)],
        data_samples=[SAMPLES[library](i) for i in range(2)],
    )
    batch = model.data_preprocessor(batch, training=True)
    losses, _ = model.parse_losses(model(**batch, mode='loss'))
    assert losses.isfinite()
    optim_wrapper.backward(losses)
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert not without
    optim_wrapper.step()
    assert any(
        not torch.equal(parameter, before[name])
        for name, parameter in model.named_parameters()
    )

    with torch.no_grad():
        batch = dict(inputs=[image(library)], data_samples=[SAMPLES[library](0)])
        (prediction,) = model.eval().test_step(batch)
    check_prediction(library, prediction)


@pytest.mark.parametrize('name', NAMES)
def test_docstring_gives_command_result_and_cost(name):
    path = CONFIGS / name
    docstring = path.read_text().split('"""')[1]
    summary, blank, *lines = docstring.splitlines()
    assert summary.endswith('.') and not blank
    text = ' '.join(lines)
    own_name = path.relative_to(CONFIGS.parent)
    if name.startswith('demo'):
        assert '`make demo`' in text
    else:
        assert re.search(rf'tools/(dist_)?train\.(sh|py) {own_name} ', text)
    assert re.search('Published: .*|The paper has no result for it', text)

    # For example: Training: 12 epochs on 8 GPUs, 2 images per GPU.
    (training,) = re.findall(
        r'Training: ([\d,]+) (epoch|iteration)s(?: on (\d+) GPUs)?, (\d+) images', text
    )
    duration, unit, gpus, images = training
    limits = dict(epoch='max_epochs', iteration='max_iters')
    cfg = read_config(path)
    assert int(duration.replace(',', '')) == cfg.train_cfg[limits[unit]]
    assert int(images) == cfg.train_dataloader.batch_size
    if gpus:
        assert f'{own_name} {gpus} ' in text
        batch = int(gpus) * int(images)
        assert batch == cfg.auto_scale_lr.base_batch_size


@pytest.mark.parametrize('name', NAMES)
def test_resumes_exactly_and_stops_if_a_loss_is_not_finite(name):
    hooks = read_config(CONFIGS / name).default_hooks
    assert hooks.exact_resume.type == 'lightvit_mm.ExactResumeHook'
    assert hooks.finite_loss.type == 'lightvit_mm.FiniteLossHook'
