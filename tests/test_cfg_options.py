"""Options of the command line: each changes what a tool reads, or is an error."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from lightvit_mm.cfg_options import merge
from lightvit_mm.config import read_config

CONFIGS = Path(__file__).parents[1] / 'configs'
DETECTOR = 'lightvit_mm::mask_rcnn_lightvit_t_1x.py'
SEGMENTOR = 'lightvit_mm::semantic_fpn_lightvit_t_ade20k.py'
CLASSIFIER = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
OWN_DATA = 'lightvit_mm::finetune_lightvit_t.py'
NAMES = [
    # Those of other sizes and of the ablations inherit from these.
    *(f'lightvit_mm::{path.name}' for path in sorted(CONFIGS.glob('*_t_*.py'))),
    'lightvit_mm::finetune_lightvit_t.py',
    'lightvit_mm::demo/lightvit_t_digits.py',
    'lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py',
    'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    'mmpretrain::milan/benchmarks/vit-base-p16_8xb2048-linear-coslr-100e_in1k.py',
    'mmseg::pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py',
    'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
]
# What mmengine's runner reads of a config.
READ_BY_RUNNER = set(
    re.findall(r"cfg(?:\.get\(|\[)\s*'(\w+)'", inspect.getsource(Runner.from_cfg))
    + re.findall(r"self\.cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner))
)


def read(name):
    pytest.importorskip(name.partition('::')[0])
    return read_config(name)


def refused(name, option):
    cfg = read(name)
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=re.escape(option)) as error:
        merge(cfg, {option: 1})
    assert cfg.to_dict() == before and '\n' not in str(error.value)
    return str(error.value).replace(f'--cfg-options {option}', '')


def test_the_runner_reads_the_settings_that_it_documents():
    assert {'model', 'train_cfg', 'compile', 'sync_bn', 'resume'} <= READ_BY_RUNNER


@pytest.mark.parametrize('name', NAMES)
def test_all_that_a_runner_reads_can_be_set(name):
    cfg = read(name)
    cfg.setdefault('custom_imports', dict(imports=[]))
    read_here = READ_BY_RUNNER | {'custom_imports'}
    if 'data_preprocessor' in cfg.model:
        read_here.remove('data_preprocessor')  # the model has its own
    places = [
        *leaves({key: cfg[key] for key in read_here & set(cfg)}),
        *(read_here - set(cfg)),
    ]
    assert len(places) > 50
    values = {place: f'new {i}' for i, place in enumerate(places)}
    # Modules that are missing could not be imported.
    values['custom_imports.imports'] = ['math']
    merge(cfg, values)
    for place, value in values.items():
        node = cfg
        for key in place.split('.'):
            node = node[int(key) if isinstance(node, list) else key]
        assert node == value


def leaves(node, path=''):
    """The paths of all settings that hold no others."""
    if isinstance(node, list) and any(isinstance(child, dict) for child in node):
        node = dict(enumerate(node))
    if not isinstance(node, dict) or not node:
        yield path
        return
    for key, child in node.items():
        yield from leaves(child, f'{path}.{key}' if path else key)


@pytest.mark.parametrize(
    'name, option, fix',
    [
        (
            DETECTOR,
            'optim_wraper.optimizer.lr',
            'no setting optim_wraper (close to it: optim_wrapper)',
        ),
        (DETECTOR, 'lr', 'did you mean optim_wrapper.optimizer.lr?'),
        (
            DETECTOR,
            'batch_size',
            'did you mean train_dataloader.batch_size, val_dataloader.batch_size or '
            'test_dataloader.batch_size?',
        ),
        (DETECTOR, 'pretrained', 'no setting pretrained'),
        (DETECTOR, 'cfg', 'no setting cfg'),
        (
            DETECTOR,
            'optim_wrapper.optimzer.lr',
            'did you mean optim_wrapper.optimizer?',
        ),
        (
            DETECTOR,
            'model.test_cfg.rcnn.score_th',
            'did you mean model.test_cfg.rcnn.score_thr?',
        ),
        (
            DETECTOR,
            'train_dataloader.dataset.pipeline.9.scale',
            'pipeline is a list with the indices 0 to 4, not 9',
        ),
        (
            DETECTOR,
            'train_dataloader.dataset.pipeline.first.scale',
            'pipeline is a list with the indices 0 to 4, not first',
        ),
        (
            DETECTOR,
            'model.backbone.arch.depths',
            "set model.backbone.arch='tiny' as a whole",
        ),
        (
            DETECTOR,
            'model.data_preprocessor.mean.0',
            'set model.data_preprocessor.mean=[123.675, 116.28, 103.53] as a whole',
        ),
        (
            DETECTOR,
            'train_dataloader.dataset.pipeline.2.scale.0',
            'set train_dataloader.dataset.pipeline.2.scale=(1333, 800) as a whole',
        ),
    ],
)
def test_a_misspelled_option_is_an_error_with_the_closest_match(name, option, fix):
    assert fix in refused(name, option)


@pytest.mark.parametrize(
    'name, option, places',
    [
        (
            DETECTOR,
            'train_pipeline.2.scale',
            'train_dataloader.dataset.pipeline.2.scale',
        ),
        (
            DETECTOR,
            'test_pipeline.1.scale',
            'val_dataloader.dataset.pipeline.1.scale and '
            'test_dataloader.dataset.pipeline.1.scale',
        ),
        (
            DETECTOR,
            'data_root',
            'train_dataloader.dataset.data_root, val_dataloader.dataset.data_root, '
            'test_dataloader.dataset.data_root, val_evaluator.ann_file and '
            'test_evaluator.ann_file',
        ),
        (DETECTOR, 'vis_backends.0.type', 'visualizer.vis_backends.0.type'),
        (
            DETECTOR,
            'lightvit.tiny.backbone.drop_path_rate',
            'model.backbone.drop_path_rate',
        ),
        (
            SEGMENTOR,
            'crop_size',
            'model.data_preprocessor.size and '
            'train_dataloader.dataset.pipeline.3.crop_size',
        ),
        (SEGMENTOR, 'data_preprocessor.size', 'model.data_preprocessor.size'),
        (
            'lightvit_mm::demo/lightvit_t_digits.py',
            'max_epochs',
            'train_cfg.max_epochs',
        ),
    ],
)
def test_a_variable_of_the_file_is_an_error_that_names_the_settings(
    name, option, places
):
    message = refused(name, option)
    assert 'has no effect' in message
    assert f'Set {places} instead' in message


def test_a_variable_without_a_setting_of_its_value_is_an_error():
    message = refused('lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py', 'num_iters')
    assert 'Set what the file makes from num_iters' in message


@pytest.mark.parametrize('option', ['data_root', 'image_size', 'pretrained'])
def test_only_runners_for_own_data_read_their_options(option):
    cfg = read(OWN_DATA)
    merge(cfg, {option: 'x'})
    assert cfg[option] == 'x'
    detector = 'lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py'
    cfg = read(detector)
    merge(cfg, {option: 'x', 'runner_type': 'lightvit_mm.CocoFolderRunner'})
    assert cfg[option] == 'x'
    refused(detector, option)


@pytest.mark.parametrize(
    'option',
    [
        'optim_wrapper.clip_grad.max_norm',
        'model.backbone.with_cp',
        'model.roi_head.bbox_head.conv_out_channels',
        'default_hooks.early_stopping.type',
        'randomness.deterministic',
        'compile.mode',
        'experiment_name',
        'optim_wrapper.optimizer._delete_',
    ],
)
def test_new_settings_are_allowed(option):
    cfg = read(DETECTOR)
    merge(cfg, {option: 1})
    *keys, last = option.split('.')
    node = cfg
    for key in keys:
        node = node[key]
    assert last == '_delete_' or node[last] == 1


def test_a_value_is_replaced_by_a_dict():
    cfg = read(DETECTOR)
    arch = 'model.backbone.arch'
    merge(cfg, {f'{arch}._delete_': True, f'{arch}.depths': (1, 1, 1)})
    assert cfg.model.backbone.arch == dict(depths=(1, 1, 1))
    assert "set model.backbone.arch='tiny' as a whole" in refused(
        DETECTOR, f'{arch}.depths'
    )


def test_modules_of_an_option_are_imported(tmp_path, monkeypatch):
    (tmp_path / 'my_dataset.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config(dict(model=dict()))
    merge(cfg, {'custom_imports.imports': ['my_dataset']})
    assert sys.modules.pop('my_dataset').__file__ == str(tmp_path / 'my_dataset.py')


@pytest.mark.parametrize('index', ['99', '', 'x'])
def test_no_element_of_a_list_that_only_the_file_uses(index):
    message = refused(OWN_DATA, f'train_pipeline.{index}')
    assert 'train_pipeline' in message


def test_options_that_contradict_each_other_are_named():
    with pytest.raises(ValueError, match='model.backbone.arch contradicts model=None'):
        merge(read(CLASSIFIER), {'model': None, 'model.backbone.arch': 'small'})


@pytest.mark.parametrize(
    'name, meant',
    [
        ('modle', 'model'),
        ('train_dataloaders', 'train_dataloader'),
        ('train_cgf', 'train_cfg'),
        ('randomnes', 'randomness'),
    ],
)
def test_a_misspelled_setting_of_the_file_is_an_error(name, meant, tmp_path):
    file = tmp_path / 'own.py'
    file.write_text(f'model = dict()\n{name} = dict(key=3)\n')
    message = f'own.py: there is no setting {name}; did you mean {meant}?'
    with pytest.raises(ValueError, match=re.escape(message)):
        merge(read_config(str(file)), {})


def test_variables_of_the_file_may_resemble_settings():
    hook = dict(type='EMAHook')
    merge(Config(dict(custom_hook=hook, custom_hooks=[hook], test_pipeline=[1])), {})
