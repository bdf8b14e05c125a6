"""A user's folder, and the commands of the documents as a user runs them there.

The datasets, weights and photographs are small ones, at the places that the
documents name. The shell replaces placeholders such as $CONFIG by the values of
:meth:`Folder.placeholders`. Eight GPUs become two processes. Options at the end
of a command make images small and stop a training after some iterations. A
benchmark measures only its first and last model, in one round.
"""

import itertools
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
# The dataset for each config that takes your own data.
OWN_DATA = {
    'finetune_lightvit_t': 'demo/data/classification',
    'finetune_faster_rcnn_lightvit_t': 'demo/data/detection',
    'finetune_mask_rcnn_lightvit_t': 'demo/data/detection',
    'retinanet_lightvit_t_1x': 'demo/data/detection',
    'finetune_semantic_fpn_lightvit_t': 'masks',
}

ONE_EPOCH = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
TWO_ITERATIONS = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
SHORTER = {'mmpretrain': ONE_EPOCH, 'mmdet': ONE_EPOCH, 'mmseg': TWO_ITERATIONS}
# Small images. Configs for your own data have an option for that.
IMAGE_SIZE = {'image_size': 64}
SCALES = {
    f'{split}_dataloader.dataset.pipeline.{i}.scale': (96, 96)
    for split, i in (('train', 2), ('val', 1), ('test', 1))
}
SMALLER = {
    'mmpretrain': {},
    'mmdet': SCALES,
    'mmseg': {
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
        'model.data_preprocessor.size': (64, 64),
        **SCALES,
    },
}
LOADERS = {
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.indices': 4,
    'val_dataloader.dataset.indices': 2,
    'test_dataloader.dataset.indices': 2,
    **NO_WORKERS,
}
OPTIONS = {
    'paper.py': '--rounds 1 --batch-size 1',
    'analysis/benchmark.py': '--rounds 1 --batch-size 1 --runtime eager',
    # Random weights find nothing with more certainty.
    'predict.py': '--score-thr 0',
}


def config_of(line: str) -> str:
    """The config that a line names, or what $CONFIG stands for."""
    return next(
        (
            word
            for word in line.split()
            if word.endswith('.py') and word.startswith(('configs/', 'work_dirs/'))
        ),
        DEMO,
    )


class Folder:
    """A folder with the repository's tools and configs and all files they read.

    Args:
        path: The empty folder to fill.
        digits: The demo's datasets.
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
        # Labelled, but not split.
        shutil.copytree(digits / 'detection/train', path / 'labelled/images')
        shutil.copy(
            digits / 'detection/train.json', path / 'labelled/instances_default.json'
        )
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
        shutil.copy(path / 'released/lightvit_tiny_78.7.ckpt', path)

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

    def placeholders(self, line: str) -> dict[str, str]:
        """What the placeholders of a line stand for, as variables of the shell."""
        config = config_of(line)
        if '$CHECKPOINT' in line or TRAINED in line:
            checkpoint = self.checkpoint(config)
        else:
            checkpoint = 'not needed'
        return dict(
            CONFIG=DEMO,
            CHECKPOINT=checkpoint,
            DATA=OWN_DATA.get(Path(config).stem, 'not needed'),
            IMAGE='photo.jpg',
            IMAGES='photos',
            SOURCE='labelled' if '--val' in line else 'demo/data/detection',
        )

    def shorten(self, line: str) -> str:
        """A line that does less, for an ordinary CPU."""
        words = line.split()
        number = next((i for i, word in enumerate(words) if 'tools/' in word), None)
        if number is None:
            return line
        tool, arguments = words[number], words[number + 1 :]
        if tool.endswith('.sh'):
            arguments = ['2' if word == '8' else word for word in arguments]
        if tool.endswith('benchmark.py'):
            models = list(itertools.takewhile(lambda w: w[0] != '-', arguments))
            arguments[: len(models)] = dict.fromkeys((models[0], models[-1]))
        tool = tool.removeprefix('tools/')
        options = self.smaller(tool, config_of(line))
        return ' '.join([*words[: number + 1], *arguments, options])

    def smaller(self, tool: str, config: str) -> str:
        if tool in OPTIONS:
            return OPTIONS[tool]
        if not re.match('(dist_)?(train|test)', tool):
            return ''
        cfg = read_config(str(self.path / config))
        scope = cfg.default_scope
        size = IMAGE_SIZE if 'image_size' in cfg else SMALLER[scope]
        options = {**LOADERS, **SHORTER[scope], **size}
        if tool.endswith(('test.py', 'test.sh')):
            options = {
                key: value
                for key, value in options.items()
                if key.startswith(('test', 'model', 'image_size'))
            }
        return shlex.join(cfg_options(options))
