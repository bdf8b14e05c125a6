"""The paper's pipeline in miniature, on real handwritten digits.

Writes the data, pre-trains LightViT-T as a classifier, trains Mask R-CNN from
it, evaluates boxes and masks with the COCO metric on held-out scenes and draws
some of them. `make demo` runs it. It took 6 minutes on one two-core machine and
13 on another.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from digit_scenes import write_datasets

from lightvit_mm import cli  # noqa: F401  before mmdet: it starts without warnings

ROOT = Path(__file__).resolve().parents[1]
DEMO = Path('demo')
CLASSIFIER = 'configs/demo/lightvit_t_digits.py'
DETECTOR = 'configs/demo/mask_rcnn_lightvit_t_digits.py'


def main() -> None:
    if Path.cwd() != ROOT:
        raise SystemExit(
            f'Run the demo in {ROOT}: its configs name data and checkpoints '
            'relative to it.'
        )
    shutil.rmtree(DEMO, ignore_errors=True)

    step(1, 'write digits on photographs, as class folders and COCO scenes')
    write_datasets(
        DEMO / 'data', num_train=480, num_val=60, scene_size=288, crop_size=56
    )

    step(2, 'pre-train LightViT-T as a classifier of single digits')
    classifier = train(CLASSIFIER)
    accuracy = classifier['accuracy/top1'] / 100

    step(3, 'train Mask R-CNN from it and evaluate on held-out scenes')
    detector = train(DETECTOR)
    checkpoint = next(work_dir(DETECTOR).glob('iter_*.pth'))

    step(4, 'draw held-out scenes with predicted boxes and masks')
    picture = DEMO / 'predictions.png'
    draw(checkpoint, picture)

    results = dict(accuracy=accuracy)
    for kind in ('bbox', 'segm'):
        for name in ('mAP', 'mAP_50', 'mAP_75'):
            # The metric has no entry if nothing was detected.
            results[f'{kind}_{name}'] = detector.get(f'coco/{kind}_{name}', 0.0)
    (DEMO / 'results.json').write_text(json.dumps(results, indent=2))
    print_summary(results, picture, checkpoint)


def step(number: int, what: str) -> None:
    print(f'\n=== demo {number}/4: {what} ===', flush=True)


def work_dir(config: str) -> Path:
    return DEMO / 'work_dirs' / Path(config).stem


def train(config: str) -> dict[str, float]:
    """Run tools/train.py and return the last scalars that it logged."""
    command = ['tools/train.py', config, '--work-dir', str(work_dir(config))]
    print('python', shlex.join(command), flush=True)
    subprocess.run([sys.executable, *command], check=True)
    log = next(work_dir(config).glob('*/vis_data/scalars.json'))
    return json.loads(log.read_text().splitlines()[-1])


def draw(checkpoint: Path, picture: Path, rows: int = 2, cols: int = 4) -> None:
    """Draw predictions on the first ``rows * cols`` held-out scenes."""
    from mmdet.apis import inference_detector, init_detector
    from mmdet.registry import VISUALIZERS

    model = init_detector(DETECTOR, str(checkpoint), device='cpu')
    visualizer = VISUALIZERS.build(model.cfg.visualizer)
    visualizer.dataset_meta = model.dataset_meta
    scenes = sorted((DEMO / 'data/detection/val').iterdir())[: rows * cols]
    tiles = []
    for scene in scenes:
        image = cv2.imread(str(scene))[..., ::-1]
        visualizer.add_datasample(
            scene.stem,
            image,
            inference_detector(model, str(scene)),
            draw_gt=False,
            pred_score_thr=0.4,
        )
        tiles.append(visualizer.get_image())
    grid = np.concatenate(
        [
            np.concatenate(tiles[i : i + cols], axis=1)
            for i in range(0, len(tiles), cols)
        ]
    )
    cv2.imwrite(str(picture), grid[..., ::-1])


def print_summary(results: dict[str, float], picture: Path, checkpoint: Path) -> None:
    print('\nHeld-out digits and halves of photographs, never trained on:')
    print(f'  classifier, top-1 accuracy  {results["accuracy"]:.3f}')
    print('  Mask R-CNN          AP   AP50   AP75')
    for kind, name in (('bbox', 'boxes'), ('segm', 'masks')):
        ap, ap50, ap75 = (
            results[f'{kind}_{key}'] for key in ('mAP', 'mAP_50', 'mAP_75')
        )
        print(f'  {name:<15} {ap:6.3f} {ap50:6.3f} {ap75:6.3f}')
    log = next(work_dir(DETECTOR).glob('*/*.log'))
    print(
        f'\nPicture:    {picture}\nLog:        {log}\n'
        f'Checkpoint: {checkpoint}\n\n'
        'Train on COCO (in data/coco, on 8 GPUs):\n'
        '  tools/dist_train.sh configs/mask_rcnn_lightvit_t_1x.py 8'
    )


if __name__ == '__main__':
    main()
