"""From an empty folder to a trained model, with only data_root set.

Classifiers are tested in test_class_folders.py.
"""

import copy
import functools
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from lightvit_mm.engine.own_data import complete

from ..processes import NO_WORKERS, cfg_options, check, free_port

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs/finetune_mask_rcnn_lightvit_t.py'
SEGMENTOR = ROOT / 'configs/finetune_semantic_fpn_lightvit_t.py'

# A network and a loader that start quickly.
SMALL = {
    'model.backbone.init_cfg': None,
    'model.backbone.arch._delete_': True,
    'model.backbone.arch.embed_dims': (8, 16, 32),
    'model.backbone.arch.depths': (1, 1, 1),
    'model.backbone.arch.num_heads': (1, 2, 4),
    'model.backbone.arch.mlp_ratios': (2, 2, 2),
    'model.backbone.arch.num_tokens': 2,
    'model.neck.in_channels': (8, 16, 32),
    **NO_WORKERS,
}


def train(config, folder, work_dir, options, num_processes=1):
    """Run the tools in another folder; return their log and the last results."""
    options = {'data_root': folder, **SMALL, **options}
    command = [sys.executable, ROOT / 'tools/train.py', config]
    if num_processes > 1:
        command = [ROOT / 'tools/dist_train.sh', config, str(num_processes)]
    log = check(
        [*command, '--work-dir', work_dir, *cfg_options(options)],
        work_dir.parent,
        PORT=free_port(),
    )
    results = next(work_dir.glob('*/vis_data/scalars.json'))
    return log, json.loads(results.read_text().splitlines()[-1])


def checkpoint(path):
    """Class names and weights."""
    content = torch.load(path, weights_only=False)
    return content['meta']['dataset_meta']['classes'], content['state_dict']


# Reading takes most of the time of a short test.
read_config = functools.lru_cache(maxsize=None)(Config.fromfile)


def completed(config, folder, **options):
    cfg = copy.deepcopy(read_config(config))
    cfg.merge_from_dict(dict(data_root=str(folder), **options))
    complete(cfg)
    return cfg


def build(cfg, split):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def test_other_configs_are_left_alone():
    cfg = copy.deepcopy(read_config(ROOT / 'configs/mask_rcnn_lightvit_t_1x.py'))
    before = cfg.to_dict()
    complete(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    'config',
    [
        'finetune_lightvit_t',
        DETECTOR.stem,
        SEGMENTOR.stem,
        'finetune_faster_rcnn_lightvit_t',
    ],
)
def test_missing_data_root_is_named(config):
    with pytest.raises(
        FileNotFoundError,
        match='^data_root=no/where is not a folder. Set data_root, for example with '
        '--cfg-options data_root=FOLDER, to a folder with ',
    ):
        completed(ROOT / f'configs/{config}.py', 'no/where')


# Detection

# The ids are neither sorted nor consecutive.
CATEGORIES = {7: 'seven', 2: 'two', 5: 'five'}


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def keep_categories(content):
    content['categories'] = [
        dict(id=number, name=name) for number, name in CATEGORIES.items()
    ]
    content['annotations'] = [
        annotation
        for annotation in content['annotations']
        if annotation['category_id'] in CATEGORIES
    ]


@pytest.fixture
def scenes(digits, tmp_path):
    """Annotations in one folder, images in others; train has the file names of
    val, too."""
    root = tmp_path / 'scenes'
    for split in ('train', 'val'):
        shutil.copytree(digits / 'detection' / split, root / split / 'images')
        path = root / 'annotations' / f'digits_{split}2024.json'
        path.parent.mkdir(exist_ok=True)
        shutil.copy(digits / 'detection' / f'{split}.json', path)
        rewrite(path, keep_categories)
    return root


def annotation_file(root, split):
    return root / f'annotations/digits_{split}2024.json'


def test_a_detector_from_an_empty_folder(scenes, tmp_path):
    log, results = train(
        DETECTOR,
        scenes,
        tmp_path / 'work',
        {
            'train_cfg.max_epochs': 1,
            'train_dataloader.dataset.pipeline.2.scale': (96, 96),
            'val_dataloader.dataset.pipeline.1.scale': (96, 96),
            'model.roi_head.bbox_head.fc_out_channels': 32,
            'model.roi_head.mask_head.num_convs': 1,
            'model.test_cfg.rcnn.score_thr': 0.0,
            **{
                f'model.{name}_channels': 16
                for name in (
                    'neck.out',
                    'rpn_head.in',
                    'rpn_head.feat',
                    'roi_head.bbox_roi_extractor.out',
                    'roi_head.mask_roi_extractor.out',
                    'roi_head.bbox_head.in',
                    'roi_head.mask_head.in',
                    'roi_head.mask_head.conv_out',
                )
            },
        },
    )
    assert 'current batch size is 2. Scaling the original LR by 0.25' in log
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(results)
    rows = re.findall(r'^\| (\w+) +\|', log, re.MULTILINE)
    assert rows == ['category', *CATEGORIES.values()] * 2

    (path,) = (tmp_path / 'work').glob('best_coco_bbox_mAP_*.pth')
    classes, weights = checkpoint(path)
    assert classes == tuple(CATEGORIES.values())
    head = 'roi_head.bbox_head.fc_cls.bias'
    assert weights[head].shape == (4,)
    assert weights['roi_head.mask_head.conv_logits.bias'].shape == (3,)
    # The written config works without the folder.
    written = Config.fromfile(tmp_path / 'work' / DETECTOR.name)
    assert written.model.roi_head.bbox_head.num_classes == 3


@pytest.mark.parametrize(
    'split, folder', [('train', 'train'), ('val', 'val'), ('test', 'val')]
)
def test_boxes_have_the_names_and_images_of_the_file(scenes, split, folder):
    cfg = completed(DETECTOR, scenes)
    dataset = build(cfg, split)
    content = json.loads(annotation_file(scenes, folder).read_text())
    expected = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        expected[annotation['image_id']].append(
            (CATEGORIES[annotation['category_id']], [x, y, x + w, y + h])
        )

    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        assert Path(info['img_path']).is_file()
        assert Path(info['img_path']).parent == scenes / folder / 'images'
        assert expected[info['img_id']] == [
            (dataset.metainfo['classes'][instance['bbox_label']], instance['bbox'])
            for instance in info['instances']
        ]
    if split != 'train':
        evaluator = cfg[f'{split}_evaluator']
        assert evaluator.ann_file == str(annotation_file(scenes, 'val'))


@pytest.mark.parametrize(
    'config, parts',
    [
        ('cascade_mask_rcnn_lightvit_t_3x', 4),
        ('retinanet_lightvit_t_1x', 1),
    ],
)
def test_any_detector_takes_the_number_of_classes(config, parts, scenes):
    cfg = completed(
        ROOT / f'configs/{config}.py',
        scenes,
        runner_type='lightvit_mm.CocoFolderRunner',
    )
    assert re.findall(r'\bnum_classes=(\d+)', cfg.pretty_text) == ['3'] * parts
    assert len(build(cfg, 'val')) == 4


def test_file_names_may_contain_folders(scenes):
    """Annotations and images of both splits are in one folder."""
    for split in ('train', 'val'):
        shutil.move(annotation_file(scenes, split), scenes / f'{split}.json')

        def name_folder(content, split=split):
            for image in content['images']:
                image['file_name'] = f'{split}/images/{image["file_name"]}'

        rewrite(scenes / f'{split}.json', name_folder)
    dataset = build(completed(DETECTOR, scenes), 'val')
    assert Path(dataset.get_data_info(0)['img_path']) == (
        scenes / 'val/images/0000.jpg'
    )

    # Links are followed: FOLDER may only link to the images.
    shutil.move(scenes / 'val', scenes.parent / 'elsewhere')
    (scenes / 'val').symlink_to(scenes.parent / 'elsewhere')
    completed(DETECTOR, scenes)


def misuse_no_files(root):
    shutil.rmtree(root)
    root.mkdir()


def misuse_two_files(root):
    shutil.copy(annotation_file(root, 'val'), root / 'val.json')


def misuse_damaged(root):
    annotation_file(root, 'train').write_text('{"images": [')


def misuse_other_format(root):
    annotation_file(root, 'val').write_text('[]')


def misuse_other_category(root):
    rewrite(
        annotation_file(root, 'val'),
        lambda content: content['categories'].append(dict(id=9, name='nine')),
    )


def misuse_other_order(root):
    rewrite(
        annotation_file(root, 'val'), lambda content: content['categories'].reverse()
    )


def misuse_missing_images(root):
    for i in (2, 5):
        (root / f'train/images/000{i}.jpg').unlink()


def misuse_no_image(root):
    for split in ('train', 'val'):
        shutil.rmtree(root / split)


def misuse_ambiguous(root):
    shutil.copytree(root / 'val', root / 'val_copy')


@pytest.mark.parametrize(
    'misuse, message',
    [
        (
            misuse_no_files,
            r"one \*.json with 'train' .* there are 0.*: none. Set data_root",
        ),
        (
            misuse_two_files,
            r"'val' .* there are 2.*digits_train2024.json, .*digits_val2024.json, "
            r'.*scenes/val.json',
        ),
        (misuse_damaged, 'digits_train2024.json is not JSON'),
        (
            misuse_other_format,
            'digits_val2024.json is not .* no images, annotations, categories',
        ),
        (misuse_other_category, r'in only one of them: nine \(id 9\)'),
        (misuse_other_order, 'in a different order'),
        (
            misuse_missing_images,
            'scenes/train/images lacks 2 of the 8 images.*the first is 0002.jpg',
        ),
        (
            misuse_no_image,
            '0000.jpg, an image of .*digits_train2024.json, is in none of the '
            r'folders of .*scenes: \., annotations',
        ),
        (
            misuse_ambiguous,
            'Several folders.*val2024.json.*: .*train/images, .*val/images, '
            '.*val_copy/images',
        ),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_misuse_of_a_coco_folder_is_explained(misuse, message, scenes):
    misuse(scenes)
    with pytest.raises((ValueError, OSError), match=message):
        completed(DETECTOR, scenes)


# Segmentation


@pytest.fixture
def masks(tmp_path):
    """Images of grey squares, and masks that number the greys."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'masks'
    for split, number, suffix in (('train', 4, '.png'), ('val', 2, '.jpg')):
        for folder in ('img_dir', 'ann_dir'):
            (root / folder / split).mkdir(parents=True)
        for i in range(number):
            mask = rng.choice([0, 1, 2, 3, 255], (6, 8)).astype(np.uint8)
            mask = mask.repeat(8, axis=0).repeat(8, axis=1)
            image = np.repeat(mask[..., None] % 5 * 60, 3, axis=2)
            cv2.imwrite(f'{root}/img_dir/{split}/{i}{suffix}', image)
            cv2.imwrite(f'{root}/ann_dir/{split}/{i}.png', mask)
    (root / 'classes.txt').write_text('sky\nvoid\ntree\nroad\n')
    return root


@pytest.mark.parametrize('num_processes', [1, 2])
def test_a_segmentor_from_an_empty_folder(masks, tmp_path, num_processes):
    log, results = train(
        SEGMENTOR,
        masks,
        tmp_path / 'work',
        {
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 2,
            'train_dataloader.batch_size': 2,
            'train_dataloader.dataset.pipeline.2.scale': (64, 48),
            'train_dataloader.dataset.pipeline.3.crop_size': (48, 64),
            'val_dataloader.dataset.pipeline.1.scale': (64, 48),
            'model.data_preprocessor.size': (48, 64),
            'model.neck.out_channels': 16,
            'model.decode_head.in_channels': (16, 16, 16, 16),
            'model.decode_head.channels': 16,
        },
        num_processes,
    )
    assert (
        f'current batch size is {2 * num_processes}. Scaling the original '
        f'LR by {0.125 * num_processes}'
    ) in log
    assert 0 <= results['mIoU'] <= 100
    rows = re.findall(r'^\| +(\w+) +\|', log, re.MULTILINE)
    assert rows == ['Class', 'sky', 'tree', 'road']

    (path,) = (tmp_path / 'work').glob('best_mIoU_*.pth')
    classes, weights = checkpoint(path)
    assert classes == ('sky', 'tree', 'road')
    assert weights['decode_head.conv_seg.bias'].shape == (3,)
    written = Config.fromfile(tmp_path / 'work' / SEGMENTOR.name)
    assert written.model.decode_head.num_classes == 3


@pytest.mark.parametrize(
    'names, labels',
    [
        ('sky void tree road', [0, 255, 1, 2]),
        ('void sky tree void', [255, 0, 1, 255]),
        ('sky cloud tree road', [0, 1, 2, 3]),
    ],
)
def test_void_is_ignored_and_the_others_are_renumbered(names, labels, masks):
    (masks / 'classes.txt').write_text('\n'.join(names.split()))
    cfg = completed(SEGMENTOR, masks)
    labels = np.array(labels + [255] * 252)
    for split, number, loader in (('train', 4, 1), ('val', 2, 2)):
        dataset = build(cfg, split)
        assert len(dataset) == number
        load = dataset.pipeline.transforms[loader]
        for i in range(number):
            mask = cv2.imread(f'{masks}/ann_dir/{split}/{i}.png', -1)
            found = load(dataset.get_data_info(i))['gt_seg_map']
            np.testing.assert_array_equal(found, labels[mask])


def test_all_heads_of_a_segmentor_take_the_number_of_classes(masks):
    head = dict(type='FCNHead', num_classes=19)
    cfg = completed(SEGMENTOR, masks, **{'model.auxiliary_head': [head, dict(head)]})
    assert cfg.model.decode_head.num_classes == 3
    assert [head.num_classes for head in cfg.model.auxiliary_head] == [3, 3]


def write_names(text):
    return lambda root: (root / 'classes.txt').write_text(text)


def misuse_no_names(root):
    (root / 'classes.txt').unlink()


def misuse_no_images(root):
    shutil.rmtree(root / 'img_dir/val')


def misuse_one_name(root):
    shutil.copy(root / 'img_dir/val/0.jpg', root / 'img_dir/train/0.jpg')


def misuse_jpeg_masks(root):
    for path in (root / 'ann_dir/train').iterdir():
        path.rename(path.with_suffix('.jpg'))


def misuse_no_masks(root):
    for i in (1, 3):
        (root / f'ann_dir/train/{i}.png').unlink()


@pytest.mark.parametrize(
    'misuse, message',
    [
        (
            misuse_no_names,
            'There is no .*masks/classes.txt. Write it with the names .* '
            'one per line: the first line names the mask value 0',
        ),
        (
            write_names('sky\n\nroad\n'),
            'Line 2 of .*classes.txt is empty, but should name the mask value 1',
        ),
        (write_names('sky\nroad\nsky\n'), 'more than once: sky'),
        (write_names('void\nroad\n'), 'two classes or more .* names road'),
        (
            misuse_no_images,
            r'no image \(.bmp, .*.webp\) in .*img_dir/val. Set data_root',
        ),
        (
            misuse_one_name,
            'img_dir/train/0.jpg and .*img_dir/train/0.png have the same name before',
        ),
        (
            misuse_jpeg_masks,
            'ann_dir/train/0.jpg is a JPEG, which changes .* masks as .png, .tif',
        ),
        (
            misuse_no_masks,
            '2 of the 4 images in .*img_dir/train have no mask; '
            'the first .* is .*ann_dir/train/1.png',
        ),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_misuse_of_a_mask_folder_is_explained(misuse, message, masks):
    misuse(masks)
    with pytest.raises((ValueError, OSError), match=message):
        completed(SEGMENTOR, masks)
