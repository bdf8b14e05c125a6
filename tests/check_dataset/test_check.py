"""Whole checks: clean data, heads and classes, the command-line tool."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightvit_mm import config
from lightvit_mm.check_dataset import check, coco
from lightvit_mm.engine import own_data

from .datasets import change, only, without, write_image

TOOL = Path(__file__).parents[2] / 'tools/check_dataset.py'


def test_clean_detection_data_have_no_faults(pets):
    report = pets.check()
    assert report.findings == []
    assert str(report) == (
        'train: 3 images, 6 annotations, 2 classes\n'
        'val, test: 2 images, 4 annotations, 2 classes\n\n'
        'class  train: images  instances  val, test: images  instances\n'
        'cat                3          3                  2          2\n'
        'dog                3          3                  2          2\n\n'
        '                               train  val, test\n'
        'small objects, < 32² pixels  100.0 %    100.0 %\n'
        'medium objects                 0.0 %      0.0 %\n'
        'large objects, ≥ 96² pixels    0.0 %      0.0 %\n'
        'median of √area                    9          9\n'
        'smallest image               40 x 30    40 x 30\n'
        'median image                 40 x 30    40 x 30\n'
        'largest image                40 x 30    40 x 30\n\n'
        'no faults found'
    )


def test_clean_segmentation_data_have_no_faults(maps):
    report = maps.check()
    assert report.findings == []
    assert str(report).startswith('train: 3 images, 3 annotations, 3 classes')
    # A quarter of each map has the value 255.
    assert (
        'class      train: images  pixels   share  val: images  pixels   share\n'
        'sky                    3     900  25.0 %            3     900  25.0 %\n'
        'road                   3     900  25.0 %            3     900  25.0 %\n'
        'car                    3     900  25.0 %            3     900  25.0 %\n'
        '(ignored)              3     900  25.0 %            3     900  25.0 %\n'
    ) in str(report)


def test_clean_classification_data_have_no_faults(folders):
    write_image(folders.root / 'train/a/1.jpg', orientation=6)
    report = folders.check()
    assert report.findings == []
    assert 'train: 4 images, 4 annotations, 2 classes' in str(report)
    assert (
        'class  train: images  val: images\n'
        'a                  2            2\n'
        'b                  2            2\n'
    ) in str(report)


@pytest.mark.parametrize(
    'head, path',
    [
        (
            lambda model: model['roi_head']['bbox_head'][1],
            'model.roi_head.bbox_head[1].num_classes=80, the data have 2',
        ),
        (
            lambda model: model['roi_head']['mask_head'],
            'model.roi_head.mask_head.num_classes=80, the data have 2',
        ),
    ],
)
def test_a_head_with_a_wrong_num_classes_is_found(pets, head, path):
    head(pets.cfg['model'])['num_classes'] = 80
    assert only(pets.check(), check.NUM_CLASSES, 'own.py') == [path]


def test_a_segmentation_head_with_a_wrong_num_classes_is_found(maps):
    maps.cfg['model']['auxiliary_head'] = [
        dict(type='FCNHead', num_classes=19),
        # It separates borders from the rest.
        dict(type='STDCHead', num_classes=2),
    ]
    assert only(maps.check(), check.NUM_CLASSES, 'own.py') == [
        'model.auxiliary_head[0].num_classes=19, the data have 3'
    ]


@pytest.mark.parametrize(
    'node, path',
    [
        (lambda cfg: cfg['model']['head'], 'model.head.num_classes'),
        (lambda cfg: cfg['data_preprocessor'], 'data_preprocessor.num_classes'),
    ],
)
def test_a_classifier_with_a_wrong_num_classes_is_found(folders, node, path):
    node(folders.cfg)['num_classes'] = 1000
    assert only(folders.check(), check.NUM_CLASSES, 'own.py') == [
        f'{path}=1000, the data have 2'
    ]


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'mmdet::htc/htc_r50_fpn_1x_coco.py',
        'mmdet::scnet/scnet_r50_fpn_1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_fcos-rpn_1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-1x_coco-person.py',
        'mmdet::ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py',
        'mmdet::queryinst/queryinst_r50_fpn_1x_coco.py',
        'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        'mmdet::yolact/yolact_r50_1xb8-55e_coco.py',
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        'mmdet::lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py',
        'lightvit_mm::cascade_mask_rcnn_lightvit_t_3x.py',
    ],
)
def test_heads_match_the_data_after_own_data_completion(pets, name):
    pets.config()
    cfg = config.read_config(name)
    cfg.merge_from_dict(
        dict(runner_type='lightvit_mm.CocoFolderRunner', data_root=str(pets.root))
    )
    own_data.complete(cfg)
    report = check.check(cfg)
    assert '6 annotations, 2 classes' in str(report)
    assert check.NUM_CLASSES not in {x.kind for x in report.findings}

    config.set_num_classes(cfg, 80)
    found = [x.entry for x in check.check(cfg).findings if x.kind == check.NUM_CLASSES]
    assert any('bbox_head' in entry for entry in found)


def test_val_classes_in_another_order_are_found(pets):
    pets.data['val']['categories'].reverse()
    for split in ('val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=('dog', 'cat'))
    found = only(pets.check(), check.OTHER_CLASSES, pets.root / 'val.json')
    assert 'dog, cat' in found[0] and 'cat, dog' in found[0]


def test_val_folders_with_other_classes_are_found(folders):
    os.rename(folders.root / 'val/b', folders.root / 'val/c')
    found = only(folders.check(), check.OTHER_CLASSES, folders.root / 'val')
    assert 'a, c' in found[0] and 'a, b' in found[0]


def test_the_tool_finds_no_faults_in_the_demo_and_draws_it(digits, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            TOOL,
            'lightvit_mm::finetune_mask_rcnn_lightvit_t.py',
            '--cfg-options',
            f'data_root={digits / "detection"}',
            '--show-dir',
            'drawn',
            '--num-samples',
            '2',
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert 'train: 8 images, ' in done.stdout
    assert 'val, test: 4 images, ' in done.stdout
    assert '10 classes' in done.stdout
    assert 'no faults found' in done.stdout
    assert len(list((tmp_path / 'drawn').glob('*.png'))) == 2


def test_the_tool_exits_with_1_for_a_fault(pets, tmp_path, monkeypatch, capsys):
    import check_dataset

    change(1, area=0)(pets.data['train'])
    path = tmp_path / 'own.py'
    pets.config().dump(path)
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', str(path)])
    with pytest.raises(SystemExit) as stopped:
        check_dataset.main()
    assert stopped.value.code == 1
    assert coco.NO_AREA.title in capsys.readouterr().out


def test_the_tool_draws_no_samples_of_faulty_data(pets, tmp_path, monkeypatch, capsys):
    import check_dataset

    without(1, 'area')(pets.data['train'])
    path = tmp_path / 'own.py'
    pets.config().dump(path)
    monkeypatch.setattr(
        sys,
        'argv',
        ['check_dataset.py', str(path), '--show-dir', str(tmp_path / 'drawn')],
    )
    with pytest.raises(SystemExit, match='cannot be drawn before the faults'):
        check_dataset.main()
    assert coco.NO_FIELD.title in capsys.readouterr().out
