"""Trains configs with several seeds, and compares their learning curves."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import ROOT, written_whole
from .report import Table

# Compared where a log has them.
METRICS = {
    'accuracy/top1': 'top-1 accuracy',
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'mIoU': 'mIoU',
}


class Point(NamedTuple):
    """One evaluation of one run.

    Args:
        model: Name of the config, without its suffix.
        seed: Seed of the run.
        step: Trained epochs, or iterations in a loop over iterations.
        metric: Key of :data:`METRICS`.
        value: Its value, as logged.
    """

    model: str
    seed: int
    step: int
    metric: str
    value: float


def train(config: str, seed: int, out: Path, options: Sequence[str]) -> None:
    """Train a config with tools/train.py, unless it has been trained already.

    A run that was interrupted continues from its last checkpoint.

    Args:
        config: Any config that tools/train.py takes.
        seed: Seed of all random numbers.
        out: Folder of all runs; that of this one is OUT/MODEL/seed_SEED.
        options: ``KEY=VALUE`` for ``--cfg-options``.

    Raises:
        ChildProcessError: If the training fails.
    """
    folder = out / Path(config).stem / f'seed_{seed}'
    finished = folder / 'finished'
    if finished.exists():
        print(f'{folder}: trained already', flush=True)
        return
    print(f'{folder}: training', flush=True)
    command = [
        *[sys.executable, str(ROOT / 'tools/train.py'), config, '--resume'],
        *['--work-dir', str(folder)],
        *['--cfg-options', f'randomness.seed={seed}', *options],
    ]
    status = subprocess.run(command).returncode
    if status:
        raise ChildProcessError(
            f'The training in {folder} ended with status {status}, see above. Run '
            'this command again to continue it'
        )
    finished.touch()


def read_points(out: Path) -> list[Point]:
    """The evaluations of all runs in a folder, in the order of model, seed and step."""
    points = {}
    # A resumed run has several logs. The last one counts where they overlap.
    for log in sorted(out.glob('*/seed_*/*/vis_data/scalars.json')):
        folder = log.parents[2]
        model, seed = folder.parent.name, int(folder.name.removeprefix('seed_'))
        for line in log.read_text().splitlines():
            record = json.loads(line)
            for metric in METRICS.keys() & record.keys():
                point = Point(model, seed, record['step'], metric, record[metric])
                points[point[:-1]] = point
    return sorted(points.values())


def summarize(points: Sequence[Point]) -> Table:
    """The last value of each metric: the mean of all seeds, and their range.

    Args:
        points: From :func:`read_points`.
    """
    metrics = [name for name in METRICS if any(p.metric == name for p in points)]
    table = Table(
        'Comparison of training runs',
        ['model', 'seeds', 'trained', *(METRICS[name] for name in metrics)],
    )
    for model in dict.fromkeys(point.model for point in points):
        # Points are sorted by step, so the last one of each run stays.
        last = {(p.metric, p.seed): p for p in points if p.model == model}
        values: dict[str, list[float]] = {name: [] for name in metrics}
        for point in last.values():
            values[point.metric].append(point.value)
        steps = sorted({point.step for point in last.values()})
        table.rows.append(
            [
                model,
                len({point.seed for point in last.values()}),
                '–'.join(map(str, dict.fromkeys([steps[0], steps[-1]]))),
                *map(_spread, values.values()),
            ]
        )
    return table


def _spread(values: Sequence[float]) -> str | None:
    if not values:
        return None
    digits = 1 if max(values) > 1 else 3
    text = f'{mean(values):.{digits}f}'
    if len(values) > 1:
        text += f' ({min(values):.{digits}f}–{max(values):.{digits}f})'
    return text


def plot(points: Sequence[Point], metric: str) -> Figure:
    """Learning curves of one metric: a line per model, the range of seeds shaded.

    Args:
        points: From :func:`read_points`.
        metric: Key of :data:`METRICS`.
    """
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    chosen = [point for point in points if point.metric == metric]
    for model in dict.fromkeys(point.model for point in chosen):
        curve: dict[int, list[float]] = {}
        for point in chosen:
            if point.model == model:
                curve.setdefault(point.step, []).append(point.value)
        steps = list(curve)
        (line,) = axes.plot(steps, list(map(mean, curve.values())), label=model)
        axes.fill_between(
            steps,
            list(map(min, curve.values())),
            list(map(max, curve.values())),
            color=line.get_color(),
            alpha=0.2,
            linewidth=0,
        )
    axes.set(xlabel='trained epochs', ylabel=METRICS[metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def write_report(out: Path) -> Table:
    """Write curves.csv, table.md and a plot of each metric into a folder of runs.

    Returns:
        The table.

    Raises:
        FileNotFoundError: If no run in the folder has been evaluated.
    """
    points = read_points(out)
    if not points:
        raise FileNotFoundError(
            f'No log in {out}/MODEL/seed_SEED/ has one of {", ".join(METRICS)}'
        )
    with written_whole(out / 'curves.csv') as path, path.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(Point._fields)
        writer.writerows(points)
    table = summarize(points)
    with written_whole(out / 'table.md') as path:
        path.write_text(table.markdown(), encoding='utf-8')
    for metric in dict.fromkeys(point.metric for point in points):
        with written_whole(out / f'{metric.replace("/", "_")}.png') as path:
            plot(points, metric).savefig(path)
    return table
