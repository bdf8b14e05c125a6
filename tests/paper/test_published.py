"""Figures that the repository repeats are the published ones."""

import re
from pathlib import Path

import pytest

from lightvit_mm.paper.published import (
    FOUR_STAGES_BOX_AP,
    LIGHTVITS,
    RELEASE,
    SECTION4,
    TABLE3,
    TABLE4,
    TABLE5,
    TABLE6,
)

from .markdown import tables_of

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
MODELS = ('LightViT-T', 'LightViT-S', 'LightViT-B')
DETECTORS = {row.name: row for row in TABLE4 if row.name in MODELS}
CLASSIFIERS = {row.name: row for row in LIGHTVITS}
# What each page has to show of each model. There may be no README_zh-CN.md.
ACCURACY = {('top-1', None)}
AP = {(part, schedule) for part in ('box', 'mask') for schedule in ('1x', '3x')}
SHOWN = {
    'README.md': ACCURACY | AP,
    'README_zh-CN.md': ACCURACY | AP,
    'docs/imagenet.md': ACCURACY | {('parameters', None), ('macs', None)},
    'docs/coco.md': AP,
}
# A word in a column's title, and the figure below it.
METRICS = {
    'top-1': 'top-1',
    'top-5': 'top-5',
    'box ap': 'box',
    'mask ap': 'mask',
    'macs': 'macs',
    'flops': 'macs',
    'multiply-adds': 'macs',
    'parameters': 'parameters',
    'params': 'parameters',
    '参数量': 'parameters',
}


def published(model, metric, schedule):
    """A published figure as text."""
    if metric in ('box', 'mask'):
        row = DETECTORS[model]
        return str({'1x': row.ap_1x, '3x': row.ap_3x}[schedule][metric == 'mask'])
    if metric in ('top-1', 'top-5'):
        return str(RELEASE[model][metric == 'top-5'])
    row = CLASSIFIERS[model]
    return str(row.parameters if metric == 'parameters' else row.multiply_adds)


def metrics_of(title):
    """The figures that a column's title names, in their order."""
    found = {title.lower().find(word): METRICS[word] for word in METRICS}
    return [found[position] for position in sorted(found) if position >= 0]


def figures_of(text):
    """(model, metric, schedule, figure as text) of each figure in the tables."""
    for header, rows in tables_of(text):
        for row in rows:
            named = re.search(r'LightViT-([TSB])\b|lightvit_([tsb])_', row[0])
            if not named:
                continue
            model = f'LightViT-{(named[1] or named[2]).upper()}'
            for title, cell in zip(header, row, strict=True):
                if cell == row[0] or 'backbone' in title:
                    continue
                metrics = metrics_of(title)
                figures = re.findall(r'\d+(?:\.\d+)?', cell)
                if not metrics or not figures:
                    continue
                assert len(figures) == len(metrics), f'{title}: {cell}'
                schedules = re.findall(r'\b[13]x', f'{title} {" ".join(row)}')
                for metric, figure in zip(metrics, figures):
                    schedule = schedules[0] if metric in ('box', 'mask') else None
                    yield model, metric, schedule, figure


@pytest.mark.parametrize('name', SHOWN)
def test_tables_of_a_page_have_the_published_figures(name):
    page = ROOT / name
    if name == 'README_zh-CN.md' and not page.exists():
        pytest.skip('there is no README_zh-CN.md')
    shown = {model: set() for model in MODELS}
    for model, metric, schedule, figure in figures_of(page.read_text()):
        assert figure == published(model, metric, schedule), (model, metric, schedule)
        shown[model].add((metric, schedule))
    for model in MODELS:
        assert shown[model] >= SHOWN[name], model


def test_a_wrong_figure_on_a_page_is_found():
    text = (
        '| Backbone | Top-1 | Box AP, mask AP, 3x |\n'
        '| --- | --- | --- |\n'
        '| **LightViT-S** | 80.9 % | 43.2, 39.8 |\n'
        '| Swin-T | 81.3 | 1.0, 2.0 |\n'
    )
    assert list(figures_of(text)) == [
        ('LightViT-S', 'top-1', None, '80.9'),
        ('LightViT-S', 'box', '3x', '43.2'),
        ('LightViT-S', 'mask', '3x', '39.8'),
    ]
    assert published('LightViT-S', 'mask', '3x') == '39.9'


def config_path(name):
    """The file of lightvit_mm::NAME."""
    return CONFIGS / name.partition('::')[2]


def published_line(path):
    """The published result in a config's docstring, on one line."""
    docstring = path.read_text().split('"""')[1]
    (line,) = re.findall(r'Published: (.*?)\.(?:\n|$)', docstring, re.S)
    return ' '.join(line.split())


@pytest.mark.parametrize('row', LIGHTVITS, ids=lambda row: row.name)
def test_classifier_docstrings(row):
    top1, top5 = RELEASE[row.name]
    paper = '' if row.top1 == top1 else f' ({row.top1} in the paper)'
    assert published_line(config_path(row.source)) == (
        f"top-1 {top1}{paper}, top-5 {top5} on the validation set (authors' release)"
    )


@pytest.mark.parametrize(
    'path',
    [*CONFIGS.glob('mask_rcnn_lightvit_*.py'), *CONFIGS.glob('released/*.py')],
    ids=lambda path: path.stem,
)
def test_detector_docstrings(path):
    size, schedule = path.stem.split('_')[3:5]
    box, mask = (
        published(f'LightViT-{size.upper()}', metric, schedule)
        for metric in ('box', 'mask')
    )
    assert published_line(path) == (
        f'box AP {box}, mask AP {mask} on val2017 (paper, Table 4)'
    )


ABLATIONS = {
    row.config: row
    for row in (*TABLE5, *TABLE6, *SECTION4)
    if '::ablation/' in row.config
}


@pytest.mark.parametrize(
    'row', ABLATIONS.values(), ids=lambda row: Path(row.config).stem
)
def test_ablation_docstrings(row):
    parameters = '' if row.parameters is None else f'{row.parameters} M parameters, '
    assert published_line(config_path(row.config)) == (
        f'{parameters}{row.multiply_adds:.2f} G MACs, top-1 {row.top1}'
    )


def test_every_published_ablation_is_checked():
    """All configs of ablations, apart from those without a published result."""
    assert {config_path(name) for name in ABLATIONS} == {
        path
        for path in (CONFIGS / 'ablation').glob('lightvit_*.py')
        if 'Published: ' in path.read_text()
    }
    path = CONFIGS / 'ablation/mask_rcnn_lightvit_t_4_stages_1x.py'
    assert published_line(path) == f'box AP {FOUR_STAGES_BOX_AP} on val2017'


def test_raw_tables_repeat_the_published_figures():
    """The rows that are measured, and thus not compared with a command."""
    tables = {
        name: tables_of((ROOT / f'docs/paper/{name}.md').read_text())
        for name in ('table3', 'table4', 'figure1')
    }
    _, (header, rows) = tables['table3']
    columns = ('Model', 'Block', 'Images/s on a V100, paper', 'Top-1 (%), published')
    assert [[row[header.index(column)] for column in columns] for row in rows] == [
        [row.name, row.block, str(row.throughput), str(row.top1)] for row in TABLE3
    ]
    ((header, rows),) = tables['figure1']
    assert [row[:3] for row in rows] == [
        [row.name, row.block, str(row.top1)] for row in TABLE3 if row.source
    ]
    ((header, rows),) = tables['table4']
    assert [[row[0], row[2], row[5], *row[-2:]] for row in rows] == [
        [
            row.name,
            str(row.parameters),
            str(row.multiply_adds),
            '{} / {}'.format(*row.ap_1x),
            '{} / {}'.format(*row.ap_3x),
        ]
        for row in TABLE4
    ]


# The figures of LightViT and of Table 4, typed in a second time.


def test_published_figures_are_those_of_the_paper():
    assert RELEASE == {
        'LightViT-T': (78.7, 94.4),
        'LightViT-S': (80.9, 95.3),
        'LightViT-B': (82.1, 95.9),
    }
    assert {
        row.name: (row.parameters, row.multiply_adds, row.throughput, row.top1)
        for row in LIGHTVITS
    } == {
        'LightViT-T': (9.4, 0.7, 2578, 78.7),
        'LightViT-S': (19.2, 1.7, 1467, 80.8),
        'LightViT-B': (35.2, 3.9, 827, 82.1),
    }
    assert {name: (row.ap_1x, row.ap_3x) for name, row in DETECTORS.items()} == {
        'LightViT-T': ((37.8, 35.9), (41.5, 38.4)),
        'LightViT-S': ((40.0, 37.4), (43.2, 39.9)),
        'LightViT-B': ((41.7, 38.8), (45.0, 41.2)),
    }


def test_published_rows_are_those_of_the_paper():
    """Parameters and MACs of Table 4."""
    assert {row.name: (row.parameters, row.multiply_adds) for row in TABLE4} == {
        'ResNet-18': (31, 207),
        'ResNet-50': (44, 260),
        'ResNet-101': (101, 493),
        'PVT-T': (33, 208),
        'PVT-S': (44, 245),
        'PVT-M': (64, 302),
        'LightViT-T': (28, 187),
        'LightViT-S': (38, 204),
        'LightViT-B': (54, 240),
    }
    assert len(TABLE4) == 9
