"""The paper's tables: what docs/paper.md shows is what the commands give."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')

from lightvit_mm.analysis.report import Table, difference
from lightvit_mm.paper import EXPERIMENTS, complexity
from lightvit_mm.paper.options import Options

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs/paper.md').read_text()
EXACT = ('table1', 'table5', 'table6', 'section4', 'plugin')


def run(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools/paper.py'), *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize('name', EXACT)
def test_docs_show_what_the_command_gives(name, tmp_path):
    for table in EXPERIMENTS[name](Options(out=tmp_path)):
        assert table.markdown() in DOCS


def test_table4_in_the_docs(tmp_path, monkeypatch):
    """Some of its rows, since all take a minute."""
    rows = [
        row
        for row in complexity.detectors()
        if row.name in ('ResNet-18', 'PVT-T', 'LightViT-S')
    ]
    monkeypatch.setattr(complexity, 'detectors', lambda: rows)
    (table,) = EXPERIMENTS['table4'](Options(out=tmp_path))
    shown = [line.split() for line in DOCS.splitlines()]
    lines = table.markdown().splitlines()[4 : 4 + len(rows)]
    assert len(lines) == 3
    for line in lines:
        assert line.split() in shown


def test_published_rows_are_those_of_the_paper():
    """Table 4's first and last columns, typed in a second time."""
    published = {
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
    rows = complexity.detectors()
    assert len(rows) == 9
    for row in rows:
        assert published[row.name] == (row.parameters, row.multiply_adds)


def test_tool_prints_and_writes_the_table(tmp_path):
    done = run('plugin', '--out', 'here', folder=tmp_path)
    assert done.returncode == 0, done.stdout
    text = (tmp_path / 'here/plugin.md').read_text()
    assert text in done.stdout and text in DOCS


def test_list_names_every_experiment():
    done = run('--list')
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines() if line]
    names = [line[0] for line in lines if line[0] in EXPERIMENTS]
    assert (
        names
        == list(EXPERIMENTS)
        == [
            'table1',
            'table3',
            'table4',
            'table5',
            'table6',
            'section4',
            'figure1',
            'figure4',
            'figure5a',
            'plugin',
        ]
    )


def test_unknown_name_lists_the_known_ones():
    done = run('table2')
    assert done.returncode == 2
    assert 'NAME should be one of table1' in done.stdout.splitlines()[-1]


def test_markdown_of_a_table():
    table = Table(
        'Title', ['a', 'long name'], [[1, None], ['x', 1.23456]], notes=['Note.']
    )
    assert table.markdown() == (
        '### Title\n\n'
        '| a | long name |\n'
        '| - | --------- |\n'
        '| 1 | –         |\n'
        '| x | 1.235     |\n\n'
        'Note.\n'
    )


def test_difference_is_relative_to_the_published():
    assert difference(11.0, 10) == '+10.0%'
    assert difference(9.95, 10) == '-0.5%'
    assert difference(1.0, None) == '–'
