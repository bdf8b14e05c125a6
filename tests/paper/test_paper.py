"""Each file in docs/paper/ is what its command gives."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')

from lightvit_mm.analysis.report import Table, difference
from lightvit_mm.paper import Options
from lightvit_mm.paper.experiments import EXPERIMENTS, complexity, throughput
from lightvit_mm.paper.published import TABLE4

from .markdown import tables_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs/paper.md'
EXACT = ('table1', 'table5', 'table6', 'section4', 'plugin')


def raw(name):
    return (ROOT / f'docs/paper/{name}.md').read_text()


def run(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools/paper.py'), *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', EXACT)
def test_docs_show_what_the_command_gives(name, tmp_path):
    tables = EXPERIMENTS[name](Options(out=tmp_path))
    assert '\n'.join(table.markdown() for table in tables) == raw(name)


@pytest.mark.slow
def test_table4_in_the_docs(tmp_path, monkeypatch):
    """Three of its rows; all of them take a minute."""
    rows = [row for row in TABLE4 if row.name in ('ResNet-18', 'PVT-T', 'LightViT-S')]
    monkeypatch.setattr(complexity, 'TABLE4', rows)
    (table,) = EXPERIMENTS['table4'](Options(out=tmp_path))
    text = raw('table4')
    shown = [line.split() for line in text.splitlines()]
    lines = table.markdown().splitlines()
    assert len(lines[4 : 4 + len(rows)]) == 3
    for line in lines[:3] + lines[4 : 4 + len(rows)]:
        assert line.split() in shown
    assert text.endswith('\n\n'.join(table.notes) + '\n')


@pytest.mark.slow
def test_counts_of_table3_in_the_docs():
    pytest.importorskip('timm')
    assert raw('table3').startswith(throughput.complexity_table().markdown() + '\n')


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_page_links_each_result_and_gives_its_command(name):
    text = PAGE.read_text()
    assert f'[{name}](paper/{name}.md)' in text
    assert f'python tools/paper.py {name} --out docs/paper' in text
    for picture in PAGE.with_suffix('').glob(f'{name}*.png'):
        assert f']({picture.name})' in raw(name)


def test_page_fits_on_one_screen():
    assert len(PAGE.read_text().splitlines()) <= 60


def test_tool_prints_and_writes_the_table(tmp_path):
    done = run('plugin', '--out', 'here', folder=tmp_path)
    assert done.returncode == 0, done.stdout
    text = (tmp_path / 'here/plugin.md').read_text()
    assert text in done.stdout and text == raw('plugin')


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
    message = done.stdout.splitlines()[-1]
    assert 'NAME is table2; it must be one of table1' in message


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
    (read,) = tables_of(table.markdown())
    assert read == (['a', 'long name'], [['1', '–'], ['x', '1.235']])


def test_difference_is_relative_to_the_published():
    assert difference(11.0, 10) == '+10.0%'
    assert difference(9.95, 10) == '-0.5%'
    assert difference(1.0, None) == '–'
