"""The runner for class folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, RUNNERS, DefaultScope
from mmengine.runner import CheckpointLoader

from lightvit_mm.engine.own_data import complete

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
FINETUNE = CONFIGS / 'finetune_lightvit_t.py'


@pytest.fixture
def folder(tmp_path):
    rng = np.random.RandomState(0)
    for split in ('train', 'val'):
        for name in ('bee', 'ant', 'cat'):
            path = tmp_path / 'insects' / split / name
            path.mkdir(parents=True)
            for i in range(4):
                image = rng.randint(0, 256, (40, 50, 3), np.uint8)
                cv2.imwrite(str(path / f'{i}.png'), image)
    return tmp_path / 'insects'


def finetune_config(data_root, work_dir):
    cfg = Config.fromfile(FINETUNE)
    cfg.merge_from_dict(
        {
            'data_root': str(data_root),
            'model.backbone.init_cfg': None,
            'model.neck.init_cfg': None,
            'work_dir': str(work_dir),
        }
    )
    return cfg


@pytest.mark.parametrize(
    'tool', ['own', pytest.param('mmpretrain', marks=pytest.mark.slow)]
)
def test_one_option_trains_on_any_folder(tool, folder, tmp_path):
    mmpretrain = pytest.importorskip('mmpretrain')
    tools = dict(own=ROOT, mmpretrain=Path(mmpretrain.__file__).parent / '.mim')[tool]
    options = dict(
        data_root=folder,
        # Nothing is downloaded; the rest is for speed.
        pretrained=None,
        image_size=64,
        **{
            'train_cfg.max_epochs': 1,
            'train_dataloader.batch_size': 6,
        },
    )
    for split in ('train', 'val', 'test'):
        options[f'{split}_dataloader.num_workers'] = 0
        options[f'{split}_dataloader.persistent_workers'] = False
    subprocess.run(
        [
            sys.executable,
            tools / 'tools/train.py',
            FINETUNE,
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            *(f'{key}={value}' for key, value in options.items()),
        ],
        cwd=ROOT,
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        check=True,
    )

    # The written config and checkpoint work without the folder.
    from mmpretrain import get_model

    path = str(tmp_path / 'work/epoch_1.pth')
    model = get_model(str(tmp_path / 'work' / FINETUNE.name), pretrained=path)
    assert model._dataset_meta['classes'] == ('ant', 'bee', 'cat')
    weights = CheckpointLoader.load_checkpoint(path)['state_dict']
    assert torch.equal(weights['head.fc.bias'], model.head.fc.bias)
    assert weights['head.fc.bias'].shape == (3,)


def test_the_classes_reach_model_and_datasets(folder, tmp_path):
    pytest.importorskip('mmpretrain')
    runner = RUNNERS.build(finetune_config(folder, tmp_path))
    assert runner.model.head.fc.out_features == 3
    assert runner.model.data_preprocessor.num_classes == 3
    for split in ('train', 'val', 'test'):
        dataset = runner.build_dataloader(runner.cfg[f'{split}_dataloader']).dataset
        assert dataset.metainfo['classes'] == ('ant', 'bee', 'cat')
        assert len(dataset) == 12
        expected = folder / ('train' if split == 'train' else 'val') / 'ant'
        assert Path(dataset.get_data_info(0)['img_path']).parent == expected
        assert dataset.get_data_info(11)['gt_label'] == 2


@pytest.mark.parametrize('missing', ['insects/train', 'insects/val'])
def test_missing_folder_is_named(missing, folder, tmp_path):
    (tmp_path / missing).rename(tmp_path / 'elsewhere')
    expected = 'val' if missing.endswith('val') else 'train'
    with pytest.raises(
        FileNotFoundError,
        match=(
            f'no class folder in {folder / expected}.*--cfg-options data_root='
            '.*train/CLASS/ and val/CLASS/'
        ),
    ):
        RUNNERS.build(finetune_config(folder, tmp_path))


def test_unsplit_folder_names_the_command_that_splits_it(folder, tmp_path):
    root = folder / 'train'
    with pytest.raises(
        FileNotFoundError,
        match=f'python tools/convert_dataset.py {root} OUT --val 0.2',
    ):
        RUNNERS.build(finetune_config(root, tmp_path))


@pytest.mark.parametrize('name', ['valid', 'validation', 'Val'])
def test_val_may_have_other_names(name, folder, tmp_path):
    (folder / 'val').rename(folder / name)
    cfg = finetune_config(folder, tmp_path)
    complete(cfg)
    assert cfg.val_dataloader.dataset.data_prefix == name
    assert cfg.train_dataloader.dataset.data_prefix == 'train'


def test_two_folders_for_val_are_ambiguous(folder, tmp_path):
    shutil.copytree(folder / 'val', folder / 'valid')
    with pytest.raises(ValueError, match='several folders for val: val, valid'):
        complete(finetune_config(folder, tmp_path))


def test_hidden_files_are_neither_classes_nor_images(folder, tmp_path):
    pytest.importorskip('mmpretrain')
    for name in ('.ipynb_checkpoints', '__MACOSX', 'ant/.thumbs'):
        (folder / 'train' / name).mkdir()
        shutil.copy(folder / 'val/ant/0.png', folder / 'train' / name)
    (folder / 'train/ant/._0.png').write_bytes(b'no image')
    cfg = finetune_config(folder, tmp_path)
    complete(cfg)
    assert cfg.model.head.num_classes == 3
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['classes'] == ('ant', 'bee', 'cat')
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == [
        str(folder / 'train' / name / f'{i}.png')
        for name in ('ant', 'bee', 'cat')
        for i in range(4)
    ]
    assert [dataset.get_data_info(i)['gt_label'] for i in (0, 4, 11)] == [0, 1, 2]


@pytest.mark.parametrize('suffix', ['.webp', '.TIFF', '.ppm', '.jpeg'])
def test_images_may_have_any_common_suffix(suffix, folder, tmp_path):
    pytest.importorskip('mmpretrain')
    for path in (folder / 'train/ant').iterdir():
        cv2.imwrite(str(path.with_suffix(suffix)), cv2.imread(str(path)))
        path.unlink()
    cfg = finetune_config(folder, tmp_path)
    complete(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 12
    assert dataset[0]['inputs'].shape == (3, 224, 224)


@pytest.mark.parametrize(
    'files, found', [([], 'no files'), (['0.gif', '1.txt'], 'only files such as 0.gif')]
)
def test_class_without_images_is_named(files, found, folder, tmp_path):
    for path in (folder / 'val/bee').iterdir():
        path.unlink()
    for name in files:
        (folder / 'val/bee' / name).touch()
    with pytest.raises(ValueError, match=f'{folder}/val/bee has no image, {found}'):
        complete(finetune_config(folder, tmp_path))


def test_a_single_class_is_an_error(folder, tmp_path):
    for name in ('train/ant', 'train/bee', 'val/ant', 'val/bee'):
        shutil.rmtree(folder / name)
    with pytest.raises(ValueError, match=f'two classes .*in {folder}/train is cat'):
        complete(finetune_config(folder, tmp_path))


def test_folder_of_images_has_no_classes(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='no class folder in .*train'):
        RUNNERS.build(finetune_config(folder / 'train/ant', tmp_path))


def test_other_classes_in_val_are_named(folder, tmp_path):
    (folder / 'val/bee').rename(folder / 'val/wasp')
    with pytest.raises(ValueError, match=f'{folder} should be.*only one.*: bee, wasp'):
        RUNNERS.build(finetune_config(folder, tmp_path))
