"""The command-line tool."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from lightvit_mm import checkpoints
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model
from lightvit_mm.weights import RELEASED

from .models import FRUITS, TOOL, classifier, save


def test_a_config_for_your_own_data_needs_no_data(predict, photos, tmp_path):
    cfg = classifier(
        num_classes=3, runner_type='lightvit_mm.ClassFolderRunner', data_root='gone'
    )
    save(cfg, tmp_path, dataset_meta=dict(classes=FRUITS[:3]))
    cfg.model.head.num_classes = 1000
    cfg.dump(tmp_path / 'config.py')
    content = predict(tmp_path, 'photos')
    names = [category['name'] for category in content['categories']]
    assert names == list(FRUITS[:3])

    save(classifier(3), tmp_path)
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match='data_root=gone is not a folder'):
        predict(tmp_path, 'photos')
    for split in ('train', 'val'):
        for name in 'xyz':
            folder = tmp_path / 'gone' / split / name
            folder.mkdir(parents=True)
            (folder / '0.jpg').touch()
    assert len(predict(tmp_path, 'photos')['categories']) == 3


@pytest.mark.parametrize('checkpoint', [['lightvit://tiny-in1k'], []])
def test_a_published_classifier_predicts_by_its_address(
    predict, photos, tmp_path, monkeypatch, checkpoint
):
    cfg = read_config('lightvit_mm::lightvit_t_8xb128_in1k.py')
    weights = checkpoints.convert(build_model(cfg).state_dict(), 'authors')
    torch.save(weights, tmp_path / RELEASED['lightvit://tiny-in1k'].file)
    monkeypatch.setenv(checkpoints.FOLDER_VARIABLE, str(tmp_path))
    argv = [
        TOOL,
        'lightvit_mm::lightvit_t_8xb128_in1k.py',
        *checkpoint,
        'photos/wide.JPG',
    ]
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(TOOL, run_name='__main__')
    written = Path('work_dirs/predict/predictions.json')
    content = json.loads(written.read_text())
    assert content['categories'][1]['name'].startswith('goldfish')
    assert len(content['annotations']) == 5


@pytest.mark.parametrize(
    'source, options, message',
    [
        ('nothing', [], 'There is no nothing: expected an image, a folder'),
        ('empty', [], r'no image in empty .* end in \.bmp, \.jpeg, \.jpg, \.pgm'),
        ('text.txt', [], r'text.txt should be a folder, an image \(\.bmp.*video'),
        ('text.jpg', [], 'text.jpg: not an image, or damaged'),
        ('text.mp4', [], 'video text.mp4 cannot be opened'),
        ('photos', ['--out', 'photos'], 'photos lies in photos, where results'),
        ('photos', ['--out', 'text.txt'], 'text.txt .* cannot be created'),
        ('photos', ['--score-thr', '30'], r'score_thr=30.0 should be between 0 and 1'),
        ('photos', ['--cfg-options', 'default_scope=None'], 'default_scope=None'),
        ('photos', ['--cfg-options', 'test_dataloader=None'], 'no test_dataload'),
        (
            'photos',
            ['--cfg-options', 'model.head.num_classes=5'],
            'checkpoint .*model.pth cannot be used.*size mismatch.*head.fc.weight',
        ),
    ],
)
def test_misuse_is_explained_before_anything_is_written(
    predict, photos, capfd, source, options, message
):
    Path('empty').mkdir()
    for suffix in ('txt', 'jpg', 'mp4'):
        Path(f'text.{suffix}').write_text('text')
    with pytest.raises(SystemExit, match=message):
        predict('classifier', source, *options)
    assert not list(Path().rglob('*.json')) and not Path('out').exists()


@pytest.mark.parametrize(
    'meta, message',
    [
        (dict(CLASSES=FRUITS[:2]), '2 class names for 7 classes'),
        (dict(CLASSES=[None] * 7), r'classes=\[None, .* a list, each entry a string'),
        (None, r'^\S*model.pth is not a PyTorch checkpoint: it starts'),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_explained(
    predict, photos, tmp_path, meta, message
):
    save(classifier(), tmp_path, **(meta or {}))
    if meta is None:
        (tmp_path / 'model.pth').write_bytes(b'')
    with pytest.raises(SystemExit, match=message):
        predict(tmp_path, 'photos')
