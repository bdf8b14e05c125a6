"""What tools/publish.py writes."""

import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from lightvit_mm.checkpoints import read_state_dict
from lightvit_mm.config import read_config
from lightvit_mm.inert_config import parse
from lightvit_mm.publish.metrics import find_metrics
from lightvit_mm.publish.publish import publish
from lightvit_mm.publish.settings import config_text
from lightvit_mm.trained import InferenceError, load_trained

from .. import small
from ..predict.models import FRUITS, classifier, save

safetensors = pytest.importorskip('safetensors.torch')
pytest.importorskip('huggingface_hub')

TOOL = str(Path(__file__).parents[2] / 'tools/publish.py')


def assert_same(found, expected):
    """Bit for bit, types included."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


def front_matter(folder):
    _, data, _ = (folder / 'README.md').read_text().split('---\n', 2)
    return yaml.safe_load(data)


def test_folder_holds_the_same_weights_twice(model):
    expected = torch.load(model.checkpoint)['state_dict']
    assert_same(safetensors.load_file(model.published / 'model.safetensors'), expected)
    [path] = model.published.glob('*.pth')
    content = torch.load(path)
    assert_same(content['state_dict'], expected)
    assert content['meta']['dataset_meta']['classes'] == list(FRUITS)
    assert content.keys() == {'meta', 'state_dict'}


def test_name_of_the_checkpoint_has_its_hash(model):
    [path] = model.published.glob('*.pth')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'{model.scope}-fruits-{digest[:8]}.pth'


def test_sha256sum_accepts_the_folder(small_model):
    folder = small_model.published
    subprocess.run(
        ['sha256sum', '-c', '--strict', 'SHA256SUMS'], cwd=folder, check=True
    )
    listed = re.findall(r'  (\S+)', (folder / 'SHA256SUMS').read_text())
    assert sorted([*listed, 'SHA256SUMS']) == sorted(os.listdir(folder))


def test_config_is_one_of_openmmlab(model):
    """It also works without this package's reader."""
    original = Config.fromfile(model.config).to_dict()
    for key in ('custom_imports', 'work_dir', 'load_from', 'resume'):
        original.pop(key, None)
    written = Config.fromfile(model.published / 'config.py').to_dict()
    # A config for your own data is completed by the number of classes.
    assert written['test_dataloader'] == original['test_dataloader']
    assert written['model'] == original['model']
    assert written.keys() == original.keys()


def test_classes(model):
    known = json.loads((model.published / 'classes.json').read_text())
    assert known['classes'] == list(FRUITS)
    assert len(known['palette']) == len(FRUITS)


def test_own_data_are_not_needed(tmp_path):
    """The config of a published model has the number of classes."""
    pytest.importorskip('mmpretrain')
    cfg = read_config('lightvit_mm::finetune_lightvit_t.py')
    cfg.model.backbone.update(arch=small.ARCH, init_cfg=None)
    cfg.model.neck.in_channels = 32
    trained = cfg.copy()
    trained.model.head.num_classes = 7
    trained.runner_type = 'Runner'
    save(trained, tmp_path, dataset_meta=dict(classes=FRUITS))
    publish(cfg, tmp_path / 'model.pth', tmp_path / 'out')
    written = read_config(str(tmp_path / 'out'))
    assert written.model.head.num_classes == 7
    assert written.runner_type == 'lightvit_mm.ClassFolderRunner'


# EMA


def write_averaged(model, folder):
    """A checkpoint of EMAHook, and its averaged and other weights."""
    average = read_state_dict(model.checkpoint)
    other = {key: value + 1 for key, value in average.items()}
    ema = {f'module.{key}': value for key, value in other.items()}
    ema['steps'] = torch.tensor(5)
    content = dict(state_dict=average, ema_state_dict=ema)
    torch.save(content, folder / 'model.pth')
    return average, other


@pytest.mark.parametrize(
    'hooks, is_averaged',
    [
        (dict(custom_hooks=[dict(type='OtherHook'), dict(type='EMAHook')]), True),
        (
            dict(
                custom_hooks=[
                    dict(type='EMAHook', evaluate_on_ema=True, evaluate_on_origin=True)
                ]
            ),
            True,
        ),
        (
            dict(custom_hooks=[dict(type='mmpretrain.EMAHook', evaluate_on_ema=False)]),
            False,
        ),
        (
            dict(
                default_hooks=dict(
                    ema=dict(type='EMAHook', evaluate_on_ema=False), timer=None
                )
            ),
            False,
        ),
        (dict(), True),
    ],
)
def test_weights_are_those_that_are_evaluated(
    small_model, tmp_path, hooks, is_averaged
):
    """By publish.py, and by predict.py and others."""
    average, other = write_averaged(small_model, tmp_path)
    cfg = read_config(str(small_model.config))
    cfg.update(hooks)
    publish(cfg, tmp_path / 'model.pth', tmp_path / 'out')
    found = safetensors.load_file(tmp_path / 'out/model.safetensors')
    assert_same(found, average if is_averaged else other)
    used = load_trained(cfg, tmp_path / 'model.pth').state_dict()
    assert_same(used, found)
    card = (tmp_path / 'out/README.md').read_text()
    assert ('averaged by EMAHook' in card) == is_averaged


def test_other_weights_must_fit_the_model(small_model, tmp_path):
    write_averaged(small_model, tmp_path)
    content = torch.load(tmp_path / 'model.pth')
    del content['ema_state_dict']['module.head.fc.weight']
    torch.save(content, tmp_path / 'model.pth')
    cfg = read_config(str(small_model.config))
    cfg.custom_hooks = [dict(type='EMAHook', evaluate_on_ema=False)]
    with pytest.raises(InferenceError, match=r'head\.fc\.weight'):
        publish(cfg, tmp_path / 'model.pth', tmp_path / 'out')


def test_weights_in_shared_memory_are_written(small_model, tmp_path):
    content = torch.load(small_model.checkpoint)
    weights = content['state_dict']
    weights['head.fc.bias'] = weights['head.fc.weight'][:, 0]
    torch.save(content, tmp_path / 'model.pth')
    cfg = read_config(str(small_model.config))
    publish(cfg, tmp_path / 'model.pth', tmp_path / 'out')
    assert_same(safetensors.load_file(tmp_path / 'out/model.safetensors'), weights)


# Metrics and the card

LOG = [
    {'lr': 0.1, 'loss': 2.0, 'time': 0.5, 'epoch': 1, 'iter': 4, 'step': 4},
    {'accuracy/top1': 40.0, 'data_time': 0.1, 'time': 0.2, 'step': 3},
    {'accuracy/top1': 50.5, 'accuracy/top5': 99.0, 'time': 0.2, 'step': 4},
    {'accuracy/top1': 60.0, 'time': 0.2, 'step': 5},
    {'loss': 1.0, 'epoch': 4, 'iter': 16, 'step': 16},
    {'accuracy/top1': 70.0, 'time': 0.2, 'step': 16},
]


def write_run(folder, cfg, **meta):
    """A checkpoint, its log, and that of an earlier run."""
    save(cfg, folder, dataset_meta=dict(classes=FRUITS), **meta)
    for stamp, records in {'20260101_000000': LOG[1:2], '20260102_000000': LOG}.items():
        path = folder / stamp / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, records)))
    return folder


@pytest.mark.parametrize(
    'by_epoch, expected',
    [
        (True, {'accuracy/top1': 50.5, 'accuracy/top5': 99}),
        (False, {'accuracy/top1': 70}),
    ],
)
def test_metrics_are_those_of_the_checkpoint(tmp_path, by_epoch, expected):
    cfg = classifier(
        default_hooks=dict(
            logger=dict(type='LoggerHook', log_metric_by_epoch=by_epoch)
        ),
        val_dataloader=dict(dataset=dict(type='ImageNet')),
    )
    run = dict(epoch=4, iter=16, experiment_name='fruits_20260102_000000')
    write_run(tmp_path, cfg, **run)
    found = publish(cfg, tmp_path / 'model.pth', tmp_path / 'out', license='mit')
    assert found == expected
    assert json.loads((tmp_path / 'out/metrics.json').read_text()) == expected

    from huggingface_hub import ModelCard

    card = ModelCard.load(tmp_path / 'out/README.md')
    results = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert results == expected
    assert card.data.eval_results[0].dataset_name == 'ImageNet'
    assert (card.data.license, card.data.model_name) == ('mit', 'out')
    assert card.data.pipeline_tag == 'image-classification'
    for name, value in expected.items():
        assert f'| {name} | {value:g} |' in card.text


@pytest.mark.parametrize(
    'run',
    [
        dict(),  # a converted checkpoint
        dict(epoch=4, iter=16, experiment_name='fruits_20260103_000000'),
        dict(epoch=2, iter=8, experiment_name='fruits_20260102_000000'),
    ],
)
def test_other_runs_and_epochs_give_no_metrics(tmp_path, run):
    cfg = classifier()
    write_run(tmp_path, cfg, **run)
    assert publish(cfg, tmp_path / 'model.pth', tmp_path / 'out') == {}
    assert 'There was no log' in (tmp_path / 'out/README.md').read_text()
    assert 'model-index' not in front_matter(tmp_path / 'out')


def test_validations_without_iteration_give_no_metrics(tmp_path, log):
    """mmengine's default logs epochs, of which these runs have none."""
    stamp = '20260102_000000'
    path = tmp_path / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    records = [{'mIoU': 40.0, 'step': 0}, {'mIoU': 50.0, 'step': 0}]
    path.write_text('\n'.join(map(json.dumps, records)))
    meta = dict(epoch=0, iter=8, experiment_name=f'fruits_{stamp}')
    assert find_metrics(Config(dict()), meta, tmp_path / 'iter_8.pth') == {}
    assert 'default_hooks.logger.log_metric_by_epoch=False' in log.text


# The tool, and what it refuses


def test_tool_says_what_it_wrote(small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = [small_model.config, small_model.checkpoint, 'fruits', '--license', 'mit']
    monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
    runpy.run_path(TOOL, run_name='__main__')
    out = capsys.readouterr().out
    assert 'model.safetensors' in out and 'no log' in out
    assert front_matter(tmp_path / 'fruits')['license'] == 'mit'


def test_another_folder_is_not_overwritten(small_model, tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='name another folder'):
        publish(read_config(str(small_model.config)), small_model.checkpoint, tmp_path)
    assert os.listdir(tmp_path) == ['notes.txt']


@pytest.mark.parametrize('module', ['huggingface_hub', 'safetensors'])
def test_missing_package_is_named(small_model, tmp_path, monkeypatch, module):
    monkeypatch.setattr(
        'lightvit_mm.installed.find_spec', lambda name: None if name == module else True
    )
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lightvit_mm\[hub\]"'):
        publish(read_config(str(small_model.config)), small_model.checkpoint, tmp_path)


def test_nothing_is_left_if_publishing_fails(tmp_path):
    cfg = classifier()
    save_checkpoint(dict(state_dict=dict(a=torch.ones(1))), str(tmp_path / 'bad.pth'))
    with pytest.raises(InferenceError, match='exactly the model in the config'):
        publish(cfg, tmp_path / 'bad.pth', tmp_path / 'out')
    assert os.listdir(tmp_path) == ['bad.pth']


def test_modules_of_the_user_are_left_out(small_model, tmp_path, log):
    cfg = read_config(str(small_model.config))
    cfg.custom_imports = dict(imports=['lightvit_mm', 'my_datasets'])
    publish(cfg, small_model.checkpoint, tmp_path / 'out')
    assert 'custom_imports of my_datasets are left out' in log.text
    assert 'custom_imports' not in (tmp_path / 'out/config.py').read_text()


def test_classes_become_names(small_model, tmp_path):
    from mmpretrain.models import ImageClassifier

    cfg = read_config(str(small_model.config))
    cfg.model.type = ImageClassifier
    cfg.model.head.type = 'mmpretrain.models.heads.LinearClsHead'
    publish(cfg, small_model.checkpoint, tmp_path / 'out')
    model = read_config(str(tmp_path / 'out')).model
    assert model.type == 'mmpretrain.ImageClassifier'
    assert model.head.type == 'mmpretrain.LinearClsHead'


@pytest.mark.parametrize(
    'setting, message',
    [
        (
            dict(scale=[dict(a=Path('x'))]),
            r"^scale\[0\].a=PosixPath\('x'\) of the config",
        ),
        (dict(step=dict(type='RFSearchHook')), "^The config .* type='RFSearchHook'"),
    ],
)
def test_what_would_be_refused_cannot_be_published(setting, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        config_text(Config(dict(default_scope='mmengine', **setting)), tmp_path)


def test_infinite_numbers_can_be_published():
    """clip_grad with max_norm=inf only measures the norm."""
    inf, nan = float('inf'), float('nan')
    settings = dict(a=[-inf, nan], optim_wrapper=dict(clip_grad=dict(max_norm=inf)))
    text = config_text(Config(settings), Path('config.py'))
    assert repr(parse(text, Path('config.py'))) == repr(settings)


def test_places_to_write_to_are_left_out():
    settings = dict(
        work_dir='work', val_evaluator=[dict(metric='bbox', outfile_prefix='/tmp/x')]
    )
    text = config_text(Config(settings), Path('config.py'))
    assert parse(text, Path('config.py')) == dict(val_evaluator=[dict(metric='bbox')])


def test_weights_have_the_usual_permissions(small_model):
    modes = {path.stat().st_mode for path in small_model.published.iterdir()}
    assert len(modes) == 1


def test_published_model_can_be_published(small_model, tmp_path):
    folder = str(small_model.published)
    publish(read_config(folder), folder, tmp_path / 'again')
    assert_same(
        safetensors.load_file(tmp_path / 'again/model.safetensors'),
        read_state_dict(small_model.checkpoint),
    )
