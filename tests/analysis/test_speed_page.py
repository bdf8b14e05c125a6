"""docs/speed.md repeats numbers of docs/speed/tables.md and adds none."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
NAMES = {
    'RegNetY-800M': 'regnety_008',
    'MobileViT-XS': 'mobilevit_xs',
    'DeiT-Ti': 'deit_tiny_patch16_224',
    'Swin-T': 'swin_tiny_patch4_window7_224',
    'ResNet-18': 'resnet18',
    'ResNet-50': 'resnet50',
    'PVTv2-B0': 'pvt_v2_b0',
}
NOISY = 15.0  # per cent


def table(page, heading):
    """Rows below a heading, each a dict by the names of its columns."""
    text = (DOCS / page).read_text().split(f'# {heading}\n')[1]
    lines = re.search(r'^\|.*?\n(?!\|)', text, re.M | re.S)[0].splitlines()
    header, _, *rows = ([x.strip() for x in line.split('|')[1:-1]] for line in lines)
    return [dict(zip(header, row)) for row in rows]


def raw(heading):
    rows = table('speed/tables.md', heading)
    return {(row['Model'], row['Runtime']): row for row in rows}


def spread(row):
    return float(row['Spread'].strip('±%'))


@pytest.fixture
def classifiers():
    return [raw(f'Classifiers, batch size {n}') for n in (1, 16)]


def test_classifiers(classifiers):
    rows = table('speed.md', 'Classifiers at 224 × 224')
    assert len(rows) == 7
    for row in rows:
        name = NAMES.get(row[''], row[''])
        for runtime in ('eager', 'compiled', 'OpenVINO'):
            measured = [batch[name, runtime.lower()] for batch in classifiers]
            expected = [
                one['Images/s'] + '*' * (spread(one) > NOISY) for one in measured
            ]
            assert row[runtime] == ' / '.join(expected)


def test_backbones():
    measured = raw('Backbones at 800 × 1280, batch size 1')
    rows = table('speed.md', 'Backbones at 800 × 1280')
    assert len(rows) == 7
    for row in rows:
        for runtime in ('eager', 'compiled', 'OpenVINO'):
            one = measured[NAMES.get(row[''], row['']), runtime.lower()]
            assert row[runtime] == f'{float(one["Batch (ms)"]):.0f}'
            assert spread(one) <= NOISY


def test_runtimes(classifiers):
    rows = table('speed.md', 'Runtimes at 224 × 224')
    today = {row['']: row for row in table('speed/tables.md', "int8: today's files")}
    assert len(rows) == 6
    for row in rows:
        name, machine = row[''].split(', ')
        if machine == 'with AMX':
            plain = [spread(batch[name, 'plain']) for batch in classifiers]
            expected = {'int8': '–'}
            for runtime in ('eager', 'compiled', 'OpenVINO'):
                measured = [batch[name, runtime.lower()] for batch in classifiers]
                expected[runtime] = ' / '.join(
                    one['Over plain'] + '*' * (max(spread(one), noise) > NOISY)
                    for one, noise in zip(measured, plain)
                )
        else:
            expected = {'compiled': '–'}
            for runtime in ('eager', 'OpenVINO', 'int8'):
                cells = [today[name][f'{runtime}, batch {n}'] for n in (1, 16)]
                expected[runtime] = ' / '.join(cells)
        assert row == {'': row[''], **expected}


def test_training():
    usual = raw('Training, batch size 16')
    with_cp = raw('With `--with-cp`')
    rows = table('speed.md', 'Training at 224 × 224, batch size 16')
    assert len(rows) == 3
    for row in rows:
        name = row['']
        assert row['plain'] == usual[name, 'plain']['Peak memory (MB)']
        for column, one in (
            ('eager', usual[name, 'eager']),
            ('compiled', usual[name, 'compiled']),
            ('eager, `with_cp`', with_cp[name, 'eager']),
        ):
            star = '*' * (spread(one) > NOISY)
            expected = f'{one["Over plain"]}{star}, {one["Peak memory (MB)"]}'
            assert row[column] == expected
