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
from mmengine.runner import save_checkpoint

from lightvit_mm.config import set_num_classes
from lightvit_mm.engine.own_data import OPTIONS, complete
from lightvit_mm.trained import build_model, load_trained, network_input

from ..processes import NO_WORKERS, cfg_options, check, free_port

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs/finetune_mask_rcnn_lightvit_t.py'
SEGMENTOR = ROOT / 'configs/finetune_semantic_fpn_lightvit_t.py'

# A network and a loader that start quickly.
SMALL = {
    'pretrained': None,
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


# Options


@pytest.mark.parametrize(
    'config, size, head',
    [
        (ROOT / 'configs/finetune_lightvit_t.py', 64, 'head.fc'),
        (SEGMENTOR, 64, 'decode_head.conv_seg'),
    ],
    ids=['classifier', 'segmentor'],
)
def test_options_apply_to_a_trained_model_without_data(config, size, head, tmp_path):
    """To the config that was trained with them, too, not only to the written one."""
    cfg = copy.deepcopy(read_config(config))
    small = {k: v for k, v in SMALL.items() if k != 'model.neck.in_channels'}
    cfg.merge_from_dict({**small, 'image_size': size, 'data_root': 'no/where'})
    is_segmentor = 'decode_head' in cfg.model
    cfg.model.neck.in_channels = (8, 16, 32) if is_segmentor else 32
    before = cfg.to_dict()
    set_num_classes(cfg, 3)
    model = build_model(cfg)
    path = str(tmp_path / 'trained.pth')
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c')))
    save_checkpoint(dict(state_dict=model.state_dict(), meta=meta), path)

    cfg = Config(before)
    loaded = load_trained(cfg, path)
    assert loaded.dataset_meta['classes'] == ['a', 'b', 'c']
    name = f'{head}.weight'
    assert torch.equal(loaded.state_dict()[name], model.state_dict()[name])
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((90, 120, 3), np.uint8))
    image, _ = network_input(loaded, cfg, tmp_path / '0.png')
    assert min(image.shape[:2]) == size


def test_every_own_data_config_lists_the_options():
    for path in (ROOT / 'configs').glob('finetune_*.py'):
        assert set(OPTIONS) <= set(read_config(path)), path


@pytest.mark.parametrize('option', ['pretrained=3', 'image_size=0'])
def test_bad_option_is_named_before_the_folder_is_read(option):
    name, value = option.split('=')
    with pytest.raises(ValueError, match=option):
        completed(DETECTOR, 'no/where', **{name: int(value)})


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


@pytest.mark.slow
def test_a_detector_from_an_empty_folder(scenes, digits, tmp_path):
    log, results = train(
        DETECTOR,
        scenes,
        tmp_path / 'work',
        {
            'train_cfg.max_epochs': 1,
            'image_size': 96,
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
    # All layers learn alike.
    table = log[log.index('Layer-wise learning rates:') :].splitlines()[2:7]
    assert [row.split()[2:] for row in table] == [['0.0002']] * 5
    shutil.rmtree(scenes)
    model = load_trained(written, path)
    assert model.dataset_meta['classes'] == list(CATEGORIES.values())
    image, _ = network_input(model, written, digits / 'detection/val/0000.jpg')
    assert min(image.shape[:2]) == 96


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


def test_an_unknown_runner_is_named(scenes):
    with pytest.raises(ValueError, match="'lightvit_mm.CocoRunner'.*CocoFolderRunner"):
        completed(DETECTOR, scenes, runner_type='lightvit_mm.CocoRunner')


@pytest.mark.parametrize(
    'part, value, message',
    [
        ('images', 3, "images should be a list, but is '3'"),
        ('annotations', {'a': 1}, 'annotations should be a list'),
        ('categories', [3], r'categories\[0\] has no id; expected a number'),
        ('categories', [{'id': 1}], r'categories\[0\] has no name; expected a string'),
        ('images', [{'file_name': 'a'}], r'images\[0\] has no id; expected a number'),
        ('annotations', [{'image_id': 1}], r'annotations\[0\] has no category_id'),
    ],
)
def test_parts_of_annotations_are_lists_of_entries(scenes, part, value, message):
    path = annotation_file(scenes, 'train')
    rewrite(path, lambda content: content.update({part: value}))
    with pytest.raises(ValueError, match=f'{path}: {message}'):
        completed(DETECTOR, scenes)


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


# As tools export them


def write_scenes(digits, root, folders, annotations, names='{}'):
    """The scenes in other folders and files, as train and val."""
    for split, folder, file in zip(('train', 'val'), folders, annotations):
        shutil.copytree(digits / 'detection' / split, root / folder)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(digits / f'detection/{split}.json', root / file)

        def change(content):
            keep_categories(content)
            for image in content['images']:
                image['file_name'] = names.format(image['file_name'])

        rewrite(root / file, change)


LAYOUTS = {
    'roboflow': dict(
        folders=('train', 'valid'),
        annotations=('train/_annotations.coco.json', 'valid/_annotations.coco.json'),
    ),
    'cvat': dict(
        folders=('images/Train', 'images/Validation'),
        annotations=(
            'annotations/instances_Train.json',
            'annotations/instances_Validation.json',
        ),
    ),
    'coco': dict(
        folders=('train2017', 'val2017'),
        annotations=(
            'annotations/instances_train2017.json',
            'annotations/instances_val2017.json',
        ),
    ),
    'converted': dict(
        folders=('images/train', 'images/val'), annotations=('train.json', 'val.json')
    ),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts_of_tools_need_no_renaming(layout, digits, tmp_path):
    expected = LAYOUTS[layout]
    write_scenes(digits, tmp_path, **expected)
    # Files next to them that are not for training.
    for name in (
        'annotations/captions_train2017.json',
        'annotations/captions_val2017.json',
        'annotations/person_keypoints_train2017.json',
        'annotations/person_keypoints_val2017.json',
        'annotations/image_info_test2017.json',
        'test/_annotations.coco.json',
        '._train.json',
        'annotations/._instances_val2017.json',
    ):
        if name.startswith('annotations/') <= (layout in ('coco', 'cvat')):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text('{}')
    cfg = completed(DETECTOR, tmp_path)
    for i, split in enumerate(('train', 'val')):
        dataset = build(cfg, split)
        assert cfg[f'{split}_dataloader'].dataset.ann_file == expected['annotations'][i]
        annotations = json.loads((tmp_path / dataset.ann_file).read_text())[
            'annotations'
        ]
        annotated = len({x['image_id'] for x in annotations})
        assert annotated < 8  # some have no objects
        assert len(dataset) == (4 if split == 'val' else annotated)
        for k in range(len(dataset)):
            path = Path(dataset.get_data_info(k)['img_path'])
            assert path.is_file()
            assert path.parent == tmp_path / expected['folders'][i]
    assert cfg.val_evaluator.ann_file == str(tmp_path / expected['annotations'][1])


@pytest.mark.parametrize('file', ['result.json', 'annotations/instances_default.json'])
def test_one_file_for_all_names_the_command_that_splits_it(file, digits, tmp_path):
    """As of Label Studio, and of CVAT without subsets."""
    write_scenes(digits, tmp_path, ('images',), (file,))
    with pytest.raises(
        ValueError,
        match=f'{file}. .*python tools/convert_dataset.py {tmp_path} OUT --val 0.2',
    ):
        completed(DETECTOR, tmp_path)


@pytest.mark.parametrize('names', [['1.xml', '2.xml'], ['1.json', '2.json']])
def test_other_formats_are_to_be_converted(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text('{}')
    with pytest.raises(
        ValueError, match=f'Another format.* tools/convert_dataset.py {tmp_path} OUT'
    ):
        completed(DETECTOR, tmp_path)


def test_many_json_files_are_not_all_listed(digits, tmp_path):
    """As of labelme: one next to each image."""
    write_scenes(digits, tmp_path, ('train', 'val'), ('train.json', 'val/x.json'))
    for i in range(50):
        (tmp_path / f'val/{i}.json').write_text('{}')
    with pytest.raises(ValueError, match='there are 51. All .* and 43 more. Set'):
        completed(DETECTOR, tmp_path)


@pytest.mark.parametrize('suffix', ['.JPG', '.Jpg'])
def test_file_in_other_case_is_shown(suffix, scenes):
    for path in [*(scenes / 'train/images').iterdir()]:
        path.rename(path.with_suffix(suffix))
    shutil.rmtree(scenes / 'val')
    with pytest.raises(
        FileNotFoundError,
        match=f'0000.jpg, .*none of the folders.* There is train/images/0000{suffix}: '
        'upper and lower case',
    ):
        completed(DETECTOR, scenes)


def test_some_files_in_other_case_are_shown(scenes):
    path = scenes / 'train/images/0003.jpg'
    path.rename(path.with_suffix('.JPG'))
    with pytest.raises(
        FileNotFoundError, match='first is 0003.jpg. There is train/images/0003.JPG: '
    ):
        completed(DETECTOR, scenes)


@pytest.mark.parametrize('name', ['/home/me/{}', 'images\\{}', r'C:\data\{}'])
def test_paths_of_another_computer_are_explained(name, scenes):
    def rename(content):
        for image in content['images']:
            image['file_name'] = name.format(image['file_name'])

    rewrite(annotation_file(scenes, 'train'), rename)
    with pytest.raises(FileNotFoundError) as error:
        completed(DETECTOR, scenes)
    assert 'There is train/images/0000.jpg: each file_name should' in str(error.value)
    assert f'python tools/convert_dataset.py {scenes} OUT' in str(error.value)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le'])
def test_json_that_pycocotools_cannot_read_is_named(encoding, scenes):
    path = annotation_file(scenes, 'val')
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(
        ValueError, match='digits_val2024.json is encoded as UTF-.*save it as UTF-8'
    ):
        completed(DETECTOR, scenes)


# Boxes without masks


@pytest.fixture
def boxes(scenes):
    """As YOLO, VOC and Roboflow give them; some tools write empty lists."""

    def drop_masks(content):
        for i, annotation in enumerate(content['annotations']):
            del annotation['segmentation']
            if i % 2:
                annotation['segmentation'] = []

    for split in ('train', 'val'):
        rewrite(annotation_file(scenes, split), drop_masks)
    return scenes


BOXES_ONLY = ROOT / 'configs/finetune_faster_rcnn_lightvit_t.py'


def test_boxes_without_masks_have_a_config(boxes):
    with pytest.raises(
        ValueError,
        match='digits_train2024.json has a segmentation, but .*masks. .*'
        f'{BOXES_ONLY.relative_to(ROOT)}$',
    ):
        completed(DETECTOR, boxes)
    cfg = completed(BOXES_ONLY, boxes)
    assert cfg.model.roi_head.bbox_head.num_classes == 3
    for split in ('train', 'val'):
        content = json.loads(annotation_file(boxes, split).read_text())
        instances = [item['data_samples'].gt_instances for item in build(cfg, split)]
        assert sum(map(len, instances)) == len(content['annotations']) > 0
        assert not any('masks' in x for x in instances)


def test_metric_for_masks_needs_masks(boxes):
    """In a config whose pipelines read boxes only."""
    with pytest.raises(ValueError, match='learns or evaluates masks'):
        completed(BOXES_ONLY, boxes, **{'val_evaluator.metric': ['bbox', 'segm']})


@pytest.mark.parametrize('metric', ['CocoMetric', 'mmdet.CocoMetric'])
def test_metric_evaluates_an_annotation_with_id_0(metric, scenes):
    cfg = completed(DETECTOR, scenes, **{'val_evaluator.type': metric})
    assert cfg.val_evaluator.type == 'lightvit_mm.CocoMetric'
    assert cfg.test_evaluator.type == 'lightvit_mm.CocoMetric'
    assert cfg.val_evaluator.classwise


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


@pytest.mark.slow
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
            'image_size': 48,
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


def test_values_and_colours_of_classes_txt_become_labels(masks):
    (masks / 'classes.txt').write_text('3: road\n0: void\n255: sky\n1: a\n2: b')
    cfg = completed(SEGMENTOR, masks)
    assert cfg.model.decode_head.num_classes == 4
    labels = np.full(256, 99)
    labels[[3, 0, 255, 1, 2]] = [0, 255, 1, 2, 3]
    for split in ('train', 'val'):
        dataset = build(cfg, split)
        (load,) = [
            step
            for step in dataset.pipeline.transforms
            if type(step).__name__ == 'LoadSegMap'
        ]
        for i in range(len(dataset)):
            mask = cv2.imread(f'{masks}/ann_dir/{split}/{i}.png', -1)
            found = load(dataset.get_data_info(i))['gt_seg_map']
            np.testing.assert_array_equal(found, labels[mask])


def test_valid_is_a_name_for_val(masks):
    for folder in ('img_dir', 'ann_dir'):
        (masks / folder / 'val').rename(masks / folder / 'valid')
    dataset = build(completed(SEGMENTOR, masks), 'val')
    assert dataset.get_data_info(1)['seg_map_path'] == f'{masks}/ann_dir/valid/1.png'
    assert dataset.get_data_info(1)['img_path'] == f'{masks}/img_dir/valid/1.jpg'


def test_colours_need_the_loader_that_knows_them(masks):
    (masks / 'classes.txt').write_text('#000000: sky\n#ffffff: road')
    cfg = copy.deepcopy(read_config(SEGMENTOR))
    cfg.data_root = str(masks)
    cfg.train_dataloader.dataset.pipeline[1] = dict(type='LoadAnnotations')
    with pytest.raises(
        ValueError,
        match="has colours .*'lightvit_mm.LoadSegMap' in place of .* in "
        'train_dataloader.dataset.pipeline',
    ):
        complete(cfg)


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
