"""configs/metafile.yml says the truth about every config."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lightvit_mm.analysis.complexity import (
    count_macs,
    count_parameters,
    forward_tensors,
)
from lightvit_mm.config import read_config
from lightvit_mm.metafile import PATH, entries, find, published_weights
from lightvit_mm.paper.published import (
    FOUR_STAGES_BOX_AP,
    LIGHTVITS,
    RELEASE,
    SECTION4,
    TABLE4,
    TABLE5,
    TABLE6,
    Classifier,
    Detector,
)
from lightvit_mm.trained import build_model
from lightvit_mm.weights import RELEASED

CONFIGS = Path(__file__).parents[1] / 'configs'
ENTRIES = {entry['Config'].removeprefix('configs/'): entry for entry in entries()}
SIZES = dict(t='tiny', s='small', b='base')
DETECTORS = {row.name: row for row in TABLE4}
LOGS = 'https://github.com/hunto/LightViT/releases/download/v0.0.1/'
ABLATIONS = {
    row.config.partition('::')[2]: (row.top1,) for row in (*TABLE5, *TABLE6, *SECTION4)
}


def test_every_config_has_one_entry():
    configs = {
        str(path.relative_to(CONFIGS))
        for path in CONFIGS.rglob('*.py')
        if '_base_' not in path.parts
    }
    assert set(ENTRIES) == configs and len(ENTRIES) == len(entries())
    # YAML reads the last of two lists of the same name.
    assert PATH.read_text().count('Config: ') == len(entries())
    names = Counter(entry['Name'].lower() for entry in entries())
    assert set(names.values()) == {1}


def expected(config):
    """Published figures, address of the weights and log of a config."""
    stem = Path(config).stem
    parts = stem.split('_')
    if '8xb128_in1k' in stem:
        size = parts[1]
        name = SIZES[size]
        return (
            RELEASE[f'LightViT-{size.upper()}'],
            f'lightvit://{name}-in1k',
            f'{LOGS}log_lightvit_{name}.csv',
        )
    if stem.startswith('mask_rcnn') and '4_stages' not in stem and 'demo' not in config:
        size, schedule = parts[3:5]
        name, row = SIZES[size], DETECTORS[f'LightViT-{size.upper()}']
        log = {'1x': '1x', '3x': '3x_ms'}[schedule]
        return (
            {'1x': row.ap_1x, '3x': row.ap_3x}[schedule],
            f'lightvit://{name}-mask-rcnn-{schedule}-coco',
            f'{LOGS}mask_rcnn_lightvit_{name}_fpn_{log}_coco.log.json',
        )
    if stem == 'mask_rcnn_lightvit_t_4_stages_1x':
        return (FOUR_STAGES_BOX_AP,), None, None
    return ABLATIONS.get(config, ()), None, None


@pytest.mark.parametrize('config', ENTRIES)
def test_results_weights_and_log_are_the_published_ones(config):
    entry = ENTRIES[config]
    metrics = tuple(
        value
        for result in entry.get('Results', ())
        for value in result['Metrics'].values()
    )
    found = metrics, entry.get('Weights'), entry.get('Training Log')
    assert found == expected(config)
    assert ('Source' in entry) == bool(metrics)
    assert entry.get('Weights') in {None, *RELEASED}
    text = ' '.join((CONFIGS / config).read_text().split())
    assert ('Published: ' in text) == bool(metrics)


def test_every_published_file_belongs_to_a_config():
    assert {entry.get('Weights') for entry in entries()} == {None, *RELEASED}


@pytest.mark.slow
@pytest.mark.parametrize('config', ENTRIES)
def test_parameters_and_macs_are_counted(config):
    metadata = ENTRIES[config]['Metadata']
    size = map(int, metadata['Input Size'].split(' x '))
    model = build_model(read_config(str(CONFIGS / config)))
    assert count_parameters(model) == metadata['Parameters']
    macs = count_macs(forward_tensors, model, torch.rand(1, 3, *size))
    assert macs == pytest.approx(metadata['FLOPs'], rel=1e-3)


@pytest.mark.parametrize(
    'row',
    [row for row in (*LIGHTVITS, *TABLE4) if row.name.startswith('LightViT')],
    ids=lambda row: f'{type(row).__name__} {row.name}',
)
def test_counts_are_near_the_published_ones(row):
    """The paper's formula for the MACs of a classifier leaves out a tenth."""
    size = row.name[-1].lower()
    config, tolerance = {
        Classifier: (f'lightvit_{size}_8xb128_in1k.py', 0.11),
        Detector: (f'mask_rcnn_lightvit_{size}_1x.py', 0.02),
    }[type(row)]
    metadata = ENTRIES[config]['Metadata']
    assert metadata['Parameters'] / 1e6 == pytest.approx(row.parameters, rel=0.02)
    assert metadata['FLOPs'] / 1e9 == pytest.approx(row.multiply_adds, rel=tolerance)


def test_weights_of_a_config_are_found_by_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    for name in (
        'configs/mask_rcnn_lightvit_s_3x.py',
        'lightvit_mm::mask_rcnn_lightvit_s_3x.py',
    ):
        cfg = read_config(name)
        assert published_weights(cfg) == 'lightvit://small-mask-rcnn-3x-coco'
    path = tmp_path / 'lightvit_t_8xb128_in1k.py'
    path.write_text("_base_ = 'lightvit_mm::lightvit_t_8xb128_in1k.py'")
    assert find(path) is None
    assert published_weights(Config.fromfile(path)) is None
    cfg = read_config('lightvit_mm::retinanet_lightvit_t_1x.py')
    assert published_weights(cfg) is None
