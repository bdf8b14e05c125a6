"""Trainings side by side: what is run, resumed, read and reported."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmpretrain')

from lightvit_mm.analysis import compare_training
from lightvit_mm.analysis.compare_training import Point, read_points, summarize

ROOT = Path(__file__).parents[2]


def write_log(out, model, seed, values, start=0, log='20260101_000000'):
    """A log as mmengine writes it: training and evaluation in turn."""
    path = out / model / f'seed_{seed}' / log / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    records = []
    for step, value in enumerate(values, start + 1):
        records.append({'loss': 1.0, 'epoch': step, 'step': 10 * step})
        records.append({'accuracy/top1': value, 'data_time': 0.1, 'step': step})
    path.write_text('\n'.join(map(json.dumps, records)))


def test_a_resumed_run_counts_each_epoch_once_with_its_last_value(tmp_path):
    write_log(tmp_path, 'a', 0, [10, 20, 30])
    write_log(tmp_path, 'a', 0, [31, 40], start=2, log='20260102_000000')
    curve = [(point.step, point.value) for point in read_points(tmp_path)]
    assert curve == [(1, 10), (2, 20), (3, 31), (4, 40)]


def test_the_table_has_the_mean_and_range_of_the_last_values(tmp_path):
    write_log(tmp_path, 'a', 0, [90, 20])
    write_log(tmp_path, 'a', 1, [10, 23])
    write_log(tmp_path, 'b', 7, [30, 31, 32.5])
    rows = summarize(read_points(tmp_path)).rows
    assert rows == [['a', 2, '2', '21.5 (20.0–23.0)'], ['b', 1, '3', '32.5']]


def test_runs_of_unequal_length_are_shown_as_such():
    points = [
        Point('a', 0, 1, 'coco/segm_mAP', 0.25),
        Point('a', 0, 2, 'coco/segm_mAP', 0.5),
        Point('a', 1, 1, 'coco/segm_mAP', 0.125),
    ]
    assert summarize(points).rows == [['a', 2, '1–2', '0.312 (0.125–0.500)']]


def test_a_trained_run_is_not_trained_again_and_a_failed_one_is(tmp_path, monkeypatch):
    statuses = iter([1, 0])
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, next(statuses))

    monkeypatch.setattr(compare_training.subprocess, 'run', run)
    arguments = ('some/net.py', 3, tmp_path, ['max_epochs=1'])
    (tmp_path / 'net/seed_3').mkdir(parents=True)
    with pytest.raises(ChildProcessError, match='seed_3 ended with status 1'):
        compare_training.train(*arguments)
    compare_training.train(*arguments)
    compare_training.train(*arguments)
    assert len(commands) == 2 and commands[0] == commands[1]
    assert commands[0][2:] == [
        *['some/net.py', '--resume', '--work-dir', str(tmp_path / 'net/seed_3')],
        *['--cfg-options', 'randomness.seed=3', 'max_epochs=1'],
    ]


@pytest.fixture
def two_digits(digits, tmp_path):
    """Eight images of each of two classes, in train and in val."""
    for split in ('train', 'val'):
        for digit in ('0', '1'):
            folder = tmp_path / 'data' / split / digit
            folder.mkdir(parents=True)
            source = digits / 'classification' / split / digit
            for image in sorted(source.iterdir())[:8]:
                shutil.copy(image, folder)
    return tmp_path / 'data'


@pytest.mark.slow
def test_the_command_trains_and_reports(two_digits, tmp_path):
    """Its results are those that the run has logged."""
    out, name = tmp_path / 'out', 'lightvit_t_0_tokens_no_gates'
    command = [
        *[sys.executable, ROOT / 'tools/analysis/compare_training.py'],
        *[ROOT / f'configs/miniature/{name}.py', '--out', out, '--seeds', '5'],
        *['--cfg-options', f'data_root={two_digits}', 'image_size=32'],
        *['train_dataloader.batch_size=8', 'train_cfg.max_epochs=2'],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with (out / 'curves.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(r['model'], r['seed'], r['step']) for r in rows] == [
        (name, '5', '1'),
        (name, '5', '2'),
    ]
    (log,) = out.glob(f'{name}/seed_5/*/*.log')
    for row in rows:
        assert (
            f'Epoch(val) [{row["step"]}][1/1]    '
            f'accuracy/top1: {float(row["value"]):.4f}'
        ) in log.read_text()
    assert f'| {float(rows[-1]["value"]):.1f} ' in (out / 'table.md').read_text()
    assert 'seed=5' in next(out.glob(f'{name}/seed_5/*.py')).read_text()
    assert (out / 'accuracy_top1.png').read_bytes().startswith(b'\x89PNG')
