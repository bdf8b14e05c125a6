"""A user's folder, and the lines of the documents as he would run them there.

His data sets, weights and photographs are small ones, and stand where the
documents say. What the lines name in capitals is put in, eight GPUs are two
processes, and options at the end make images small and end a training after
some iterations. Measured are the first and the last model, in one round.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import torch
from mmengine.runner import save_checkpoint

from lightvit_mm import checkpoints
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

from .processes import NO_WORKERS, cfg_options

ROOT = Path(__file__).parents[1]
DEMO = 'configs/demo/mask_rcnn_lightvit_t_digits.py'
TRAINED = 'demo/work_dirs/mask_rcnn_lightvit_t_digits/iter_240.pth'
# The folder that each config for one's own data is pointed at.
OWN_DATA = {
    'finetune_lightvit_t': 'demo/data/classification',
    'finetune_mask_rcnn_lightvit_t': 'demo/data/detection',
    'retinanet_lightvit_t_1x': 'demo/data/detection',
    'finetune_semantic_fpn_lightvit_t': 'masks',
}

ONE_EPOCH = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
SMALL_IMAGES = {
    f'{split}_dataloader.dataset.pipeline.{i}.scale': (96, 96)
    for split, i in (('train', 2), ('val', 1), ('test', 1))
}
SMALLER = {
    'mmpretrain': ONE_EPOCH,
    'mmdet': {**ONE_EPOCH, **SMALL_IMAGES},
    'mmseg': {
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
        'model.data_preprocessor.size': (64, 64),
        **SMALL_IMAGES,
    },
}
LOADERS = {
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.indices': 4,
    'val_dataloader.dataset.indices': 2,
    'test_dataloader.dataset.indices': 2,
    **NO_WORKERS,
}
MEASURED = {
    'paper.py': '--rounds 1 --batch-size 1',
    'analysis/benchmark.py': '--rounds 1 --batch-size 1 --runtime eager',
}


class Folder:
    """A folder with the repository's tools and configs and all that they read.

    Args:
        path: Where it is made.
        digits: The demo's data sets.
    """

    def __init__(self, path: Path, digits: Path) -> None:
        self.path = path
        for name in ('tools', 'configs'):
            (path / name).symlink_to(ROOT / name)
        (path / 'demo').mkdir()
        shutil.copytree(digits, path / 'demo/data')
        scenes = sorted((digits / 'detection/train').iterdir())
        (path / 'photos').mkdir()
        for scene in scenes:
            shutil.copy(scene, path / 'photos')
        shutil.copy(scenes[0], path / 'photo.jpg')
        self.write_imagenet()
        self.write_coco()
        self.write_masks(
            path / 'data/ade/ADEChallengeData2016', 'training', 'validation'
        )
        self.write_masks(path / 'masks', 'train', 'val', 'img_dir', 'ann_dir')
        (path / 'masks/classes.txt').write_text('background\nvoid\ndigit\n')
        self.environment = dict(LIGHTVIT_CHECKPOINTS=str(path / 'released'))
        (path / 'released').mkdir()
        for size in ('tiny', 'small'):
            cfg = read_config(f'lightvit_mm::lightvit_{size[0]}_8xb128_in1k.py')
            url = checkpoints.RELEASED[f'lightvit://{size}-in1k']
            torch.save(
                checkpoints.convert(build_model(cfg).state_dict(), 'authors'),
                path / 'released' / Path(url).name,
            )

    def write_imagenet(self) -> None:
        """With lists of the images, so that two classes of 1000 will do."""
        for split in ('train', 'val'):
            root = self.path / 'data/imagenet'
            (root / 'meta').mkdir(parents=True, exist_ok=True)
            shutil.copytree(
                self.path / 'demo/data/classification' / split, root / split
            )
            images = sorted((root / split).glob('*/*.jpg'))[::30]
            (root / f'meta/{split}.txt').write_text(
                '\n'.join(
                    f'{image.relative_to(root / split)} {int(image.parent.name)}'
                    for image in images
                )
            )

    def write_coco(self) -> None:
        from mmdet.datasets import CocoDataset

        names = CocoDataset.METAINFO['classes']
        root = self.path / 'data/coco'
        (root / 'annotations').mkdir(parents=True)
        for split in ('train', 'val'):
            source = self.path / 'demo/data/detection'
            shutil.copytree(source / split, root / f'{split}2017')
            content = json.loads((source / f'{split}.json').read_text())
            content['categories'] = [
                dict(id=i, name=name) for i, name in enumerate(names)
            ]
            (root / f'annotations/instances_{split}2017.json').write_text(
                json.dumps(content)
            )

    def write_masks(
        self, root, train, val, images='images', masks='annotations'
    ) -> None:
        """The scenes, with 2 where there is light, 0 elsewhere."""
        for source, split in (('train', train), ('val', val)):
            for folder in (images, masks):
                (root / folder / split).mkdir(parents=True)
            scenes = self.path / 'demo/data/detection' / source
            for scene in scenes.iterdir():
                shutil.copy(scene, root / images / split)
                grey = cv2.imread(str(scene), cv2.IMREAD_GRAYSCALE)
                cv2.imwrite(
                    f'{root / masks / split / scene.stem}.png', (grey > 150) * 2
                )

    def checkpoint(self, config: str) -> str:
        """Random weights for a config, or what was trained with it."""
        if not config.startswith('configs/'):
            return f'{Path(config).parent}/best_*.pth'
        path = TRAINED
        if config != DEMO:
            path = f'weights/{Path(config).stem}.pth'
        if not (self.path / path).exists():
            cfg = read_config(str(self.path / config))
            model = build_model(cfg)
            save_checkpoint(
                dict(state_dict=model.state_dict(), meta={}), str(self.path / path)
            )
        return path

    def complete(self, line: str) -> str:
        """A line of the documents, placeholders filled in, and shorter."""
        line = re.sub(r'\bCONFIG_NAME\b', Path(DEMO).stem, line)
        line = re.sub(r'\bCONFIG\b', DEMO, line)
        line = re.sub(r'\bWORK_DIR/(\w+)', r'work_dirs/\1/\1', line)
        config = next(
            (
                word
                for word in line.split()
                if word.endswith('.py') and word.startswith(('configs/', 'work_dirs/'))
            ),
            DEMO,
        )
        name = Path(config).stem
        if TRAINED in line or re.search(r'\bCHECKPOINT\b', line):
            line = re.sub(r'\bCHECKPOINT\b', self.checkpoint(config), line)
        for word, value in {
            'data_root=FOLDER': f'data_root={OWN_DATA.get(name)}',
            '--int8 FOLDER': '--int8 photos',
            '--out FOLDER': '--out found',
            '--out DIR': '--out found',
            'IMAGE_OR_FOLDER_OR_VIDEO': 'photos',
            'IMAGES': 'photo.jpg',
            'IMAGE': 'photo.jpg',
            'IN OUT': 'released/lightvit_tiny_78.7.ckpt out.pth',
            '.py 8': '.py 2',
            '.pth 8': '.pth 2',
        }.items():
            line = line.replace(word, value)
        line = re.sub(r'(benchmark\.py \S+) [^-]*( \w\S+ --)', r'\1\2', line)
        tool = re.match(r'(?:python )?tools/(\S+)', line)
        return f'{line} {self.smaller(tool[1], config)}' if tool else line

    def smaller(self, tool: str, config: str) -> str:
        if tool in MEASURED:
            return MEASURED[tool]
        if not re.match('(dist_)?(train|test)', tool):
            return ''
        scope = read_config(str(self.path / config)).default_scope
        options = {**LOADERS, **SMALLER[scope]}
        if tool.endswith(('test.py', 'test.sh')):
            options = {
                key: value
                for key, value in options.items()
                if key.startswith(('test', 'model'))
            }
        return shlex.join(cfg_options(options))
