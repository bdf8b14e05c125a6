"""Speed measured side by side, and Table 3 and Figures 1 and 5a by it."""
import json
import re
import time

import pytest
import torch
from torch import nn

from lightvit_mm import hub
from lightvit_mm.analysis import benchmark
from lightvit_mm.analysis.benchmark import Speed
from lightvit_mm.analysis.complexity import (count_multiply_adds,
                                             count_parameters)
from lightvit_mm.paper.options import Options

pytest.importorskip('timm')
pytest.importorskip('mmpretrain')
pytest.importorskip('matplotlib')
from lightvit_mm.paper import throughput  # noqa: E402
from lightvit_mm.paper.throughput import MEASURED, STAGED, TABLE3  # noqa: E402

LIGHTVIT_T = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
PNG = b'\x89PNG'


@pytest.fixture(autouse=True)
def one_thread():
    """On busy cores, threads spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Models by their names


@pytest.mark.parametrize('name', ['pvt_v2_b0', LIGHTVIT_T])
def test_model_scores_images(name):
    model = benchmark.build(name)
    assert not any(module.training for module in model.modules())
    assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)


def test_config_of_a_path_builds_without_its_weights(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n"
                    "model = dict(backbone=dict(init_cfg=dict(\n"
                    "    type='Pretrained', checkpoint='nowhere.pth')))\n")
    model = benchmark.build(str(path))
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_detector_takes_images_alone():
    pytest.importorskip('mmdet')
    model = benchmark.build('lightvit_mm::mask_rcnn_lightvit_t_1x.py')
    with torch.no_grad():
        (scores, boxes, masks), = model(torch.zeros(1, 3, 64, 96))
    assert scores.shape == (len(boxes), 81)
    assert masks.shape[1:] == (80, 28, 28)


@pytest.mark.parametrize('name, error, close', [
    ('pvtv2_b0', ValueError, 'pvt_v2_b0'),
    ('lightvit_mm::lightvit_x_8xb128_in1k.py', FileNotFoundError, LIGHTVIT_T),
    ('mmpretrain::swin-tiny_16xb64_in1k.py', FileNotFoundError,
     'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'),
])
def test_wrong_name_is_answered_with_close_ones(name, error, close):
    with pytest.raises(error) as info:
        benchmark.build(name)
    message = str(info.value)
    assert name in message and '\n' not in message
    matches = re.search(r'\(close to it: (.*?)\)', message)[1]
    assert close in matches.split(', ')


def test_wrong_path_is_answered_with_its_neighbours(tmp_path):
    (tmp_path / 'swin_tiny.py').touch()
    name = str(tmp_path / 'swin_tin.py')
    with pytest.raises(FileNotFoundError, match='swin_tiny.py'):
        benchmark.build(name)


def test_config_without_a_model_is_an_error(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("default_scope = 'mmpretrain'")
    with pytest.raises(ValueError, match='mine.py.* should have a model'):
        benchmark.build(str(path))


@pytest.mark.parametrize('name, message', [
    ('pvt_v2_b0', 'timm is not installed: pip install timm'),
    ('mmseg::fcn/fcn_r50-d8.py',
     'mmseg is not installed: pip install mmsegmentation'),
])
def test_missing_library_is_named_with_its_command(name, message,
                                                   monkeypatch):
    monkeypatch.setattr(hub, 'find_spec', lambda module: None)
    with pytest.raises(ModuleNotFoundError) as info:
        benchmark.build(name)
    assert str(info.value) == message


# Speed and memory


class Logged(nn.Module):
    """Writes down its name and the size of the batch."""

    def __init__(self, name, log):
        super().__init__()
        self.name = name
        self.log = log

    def forward(self, x):
        self.log.append((self.name, len(x)))
        return x


def test_models_take_turns(monkeypatch):
    log = []
    seconds = iter([.5, .2, 1., .4] + [.25, .1, 2., .5])

    def time_one(call):
        call()
        return next(seconds)

    monkeypatch.setattr(benchmark, 'seconds_per_call', time_one)
    monkeypatch.setattr(benchmark, 'peak_memory', lambda *args: 3_000_000)
    models = {name: Logged(name, log) for name in 'ab'}
    speeds = benchmark.measure(models, (3, 2, 2), batch_size=4, rounds=2)

    warm_up_and_rounds = [('a', 4), ('a', 1), ('b', 4), ('b', 1)] * 3
    assert log == warm_up_and_rounds
    assert speeds == dict(
        a=Speed([8., 16.], [200., 100.], 3.),
        b=Speed([4., 2.], [400., 500.], 3.))


def test_spread_is_the_largest_deviation_from_the_median():
    assert benchmark.spread([10., 7., 10.5, 12., 10.]) == pytest.approx(.3)


def test_seconds_per_call_runs_on_all_threads():
    used = []

    def call():
        used.append(torch.get_num_threads())
        time.sleep(0.01)

    torch.set_num_threads(2)
    seconds = benchmark.seconds_per_call(call, min_run_time=0.05)
    assert seconds >= 0.01
    assert set(used) == {2} and len(used) > 2


@pytest.mark.parametrize('amp, dtype', [(False, torch.float32),
                                        (True, torch.bfloat16)])
def test_precision(amp, dtype):
    run = benchmark.prepare(nn.Linear(3, 4), 'cpu', amp, compile=False)
    output = run(torch.zeros(2, 3))
    assert output.dtype == dtype and output.is_inference()


def test_compiled_model_is_what_runs(monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda model, dynamic: model.double)
    model = nn.Linear(3, 4)
    model.double = lambda x: 'compiled'
    run = benchmark.prepare(model, 'cpu', amp=False, compile=True)
    assert run(torch.zeros(2, 3)) == 'compiled'


@pytest.mark.parametrize('widths, held', [
    ((10, 10, 20, 40), 60),  # the first output is free before the third
    ((10, 70, 5, 5), 75),
])
def test_peak_memory_is_that_of_live_activations(widths, held):
    model = nn.Sequential(
        *[nn.Linear(c, d) for c, d in zip(widths, widths[1:])])
    model.register_buffer('unused', torch.zeros(100, dtype=torch.float64))
    x = torch.zeros(1000, widths[0])
    run = benchmark.prepare(model, 'cpu', amp=False, compile=False)
    run(x)
    peak = benchmark.peak_memory(model, lambda: run(x), 'cpu')
    assert peak == 4 * count_parameters(model) + 800 + 4 * 1000 * held


@pytest.mark.parametrize('changed, message', [
    (dict(rounds=0), 'rounds=0 should be at least 1'),
    (dict(batch_size=-1), 'batch_size=-1 should be at least 1'),
    (dict(device='tpu'), "device='tpu' should be one of"),
])
def test_bad_measurement_is_an_error(changed, message):
    with pytest.raises(ValueError, match=message):
        benchmark.measure({}, **changed)


def test_absent_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match="choose 'cpu'"):
        benchmark.measure({}, device='cuda')


# Table 3


def rounds_to(ours, published):
    """Whether it has the paper's digits: one decimal, or none."""
    return abs(ours - published) <= (
        0.5 if isinstance(published, int) else 0.05)


@pytest.mark.parametrize('name, parameters, multiply_adds, as_authors', [
    ('LightViT-T', '9.378', '0.772', '0.733'),
    ('LightViT-S', '19.200', '1.825', '1.743'),
    ('LightViT-B', '35.196', '4.107', '3.923'),
])
def test_lightvit_in_the_table(name, parameters, multiply_adds, as_authors):
    row, = [row for row in throughput.complexity_table().rows
            if row[0] == name]
    assert (row[2], row[5], row[8]) == (parameters, multiply_adds, as_authors)
    published = MEASURED[name]
    assert rounds_to(float(parameters), published.parameters)
    assert rounds_to(float(as_authors), published.multiply_adds)


def test_other_models_are_those_of_the_paper():
    counts = throughput.complexities()
    differ = {
        key: {
            name
            for name, row in MEASURED.items() if not rounds_to(
                getattr(counts[name], key) / unit, getattr(row, key))
        }
        for key, unit in (('parameters', 1e6), ('multiply_adds', 1e9))
    }
    # PVTv2's own code has these numbers; the others are rounded up.
    assert differ['parameters'] == {
        'PVTv2-B0', 'PVTv2-B1', 'RegNetY-4G', 'Swin-T'
    }
    # MobileViT is published for a larger image; Swin publishes 4.5 G. The
    # paper has LightViT's by the authors' formula.
    assert differ['multiply_adds'] == {
        'MobileViT-XS', 'MobileViT-S', 'Swin-T', 'LightViT-T', 'LightViT-S',
        'LightViT-B'
    }


@pytest.mark.parametrize('name, config', [
    ('MobileViT-XS', 'mobilevit/mobilevit-xsmall_8xb128_in1k.py'),
    ('MobileViT-S', 'mobilevit/mobilevit-small_8xb128_in1k.py'),
    ('DeiT-Ti', 'deit/deit-tiny_4xb256_in1k.py'),
    ('DeiT-S', 'deit/deit-small_4xb256_in1k.py'),
    ('Twins-PCPVT-S', 'twins/twins-pcpvt-small_8xb128_in1k.py'),
    ('Swin-T', 'swin_transformer/swin-tiny_16xb64_in1k.py'),
])
def test_timm_and_mmpretrain_agree(name, config):
    model = benchmark.build(f'mmpretrain::{config}')
    counts = throughput.complexities()[name]
    assert count_parameters(model) == counts.parameters
    assert count_multiply_adds(model, torch.zeros(
        1, 3, 224, 224)) == counts.multiply_adds


def speeds(scale=1.):
    """Three rounds, whose median is the second."""
    return {
        name: Speed([scale * row.throughput / 40 * x for x in (.9, 1., 1.2)],
                    [30., 10., 20.], 1e3)
        for name, row in MEASURED.items()
    }


@pytest.fixture
def measured(monkeypatch):
    """Counts the measurements of Table 3, none of which takes place."""
    throughput.complexities()  # builds models, and is kept
    calls = []

    def measure(models, shape, **options):
        calls.append(options)
        assert set(models) == set(MEASURED) and shape == (3, 224, 224)
        return speeds()

    monkeypatch.setattr(throughput, 'measure', measure)
    monkeypatch.setattr(throughput, 'build', lambda name: None)
    return calls


def test_table3(measured, tmp_path):
    options = Options(tmp_path / 'out', amp=True, batch_size=2, rounds=3)
    complexity, speed = throughput.table3(options)
    assert measured == [
        dict(batch_size=2, rounds=3, device='cpu', amp=True, compile=False)
    ]
    assert [row[0] for row in complexity.rows] == [
        row[0] for row in speed.rows
    ] == [row.name for row in TABLE3]
    rows = {row[0]: row[1:] for row in speed.rows}
    assert rows['DeiT-S'] == [
        'Transformer', pytest.approx(961 / 40), '±20.0%', '0.37', '0.37', 961,
        '20.00', '1000', '79.8'
    ]
    assert rows['LVT'] == [
        'Hybrid', None, None, None, '0.60', 1545, None, None, '74.8'
    ]
    note = speed.notes[0]
    for part in (torch.__version__, 'mixed with bfloat16', 'eager',
                 'batch size 2', 'rounds 3'):
        assert part in note

    saved = json.loads((tmp_path / 'out/table3.json').read_text())
    assert Speed(**saved['models']['Swin-T']['speed']) == speeds()['Swin-T']
    assert saved['models']['LightViT-B']['complexity']['parameters'] == (
        throughput.complexities()['LightViT-B'].parameters)


def test_one_round_has_no_spread():
    only = {name: Speed([1.], [1.], 1.) for name in MEASURED}
    conditions = benchmark.settings(1, 1, 'cpu', False, False)
    conditions['timm'] = ''
    table = throughput.speed_table(only, conditions)
    assert {row[3] for row in table.rows} == {None}


# Figure 1


def test_figure1_uses_table3_of_the_same_settings(measured, tmp_path):
    options = Options(tmp_path, rounds=3)
    throughput.table3(options)
    table, = throughput.figure1(options)
    assert len(measured) == 1
    assert 'is that of table3.json' in table.notes[1]
    assert '(figure1.png)' in table.notes[0]
    assert (tmp_path / 'figure1.png').read_bytes().startswith(PNG)

    table, = throughput.figure1(Options(tmp_path, rounds=3, compile=True))
    assert [call['compile'] for call in measured] == [False, True]
    assert 'was measured for this figure' in table.notes[1]
    saved = json.loads((tmp_path / 'table3.json').read_text())
    assert saved['settings']['mode'] == 'compiled'


def test_figure1_shows_every_model():
    rates = {name: 10. + i for i, name in enumerate(MEASURED)}
    axes = throughput.draw_figure1(rates).axes
    counts = throughput.complexities()
    for ax, values in zip(axes, ({
            name: count.multiply_adds / 1e9
            for name, count in counts.items()
    }, rates)):
        lines = {line.get_label(): line for line in ax.lines}
        for block in ('CNN', 'Hybrid', 'Transformer', 'LightViT'):
            expected = [
                [values[name], row.top1] for name, row in MEASURED.items()
                if block == ('LightViT' if 'LightViT' in name else row.block)
            ]
            assert lines[block].get_xydata().tolist() == expected
        assert len({line.get_marker() for line in ax.lines}) == 4
        assert [label for label, line in lines.items()
                if line.get_linestyle() == '-'] == ['LightViT']
        assert {text.get_text() for text in ax.texts} == set(MEASURED)


# Figure 5a


@pytest.mark.parametrize('name', STAGED)
def test_stages_make_up_the_backbone(name):
    model = benchmark.build(MEASURED[name].source)
    backbone = getattr(model, 'backbone', None) or model.forward_features
    x = torch.randn(1, 3, 224, 224)
    counts = throughput.count_stages(model)
    strides = ['8', '16', '32'] if 'Light' in name else ['4', '8', '16', '32']
    assert list(counts) == ['stem', *strides]
    assert sum(counts.values()) == count_multiply_adds(backbone, x)

    with torch.no_grad():
        stages = throughput.split(model)
        inputs = throughput.record_inputs(model, stages, x)
        for stage, following in zip(stages[1:], stages[2:]):
            output = stage.module(*inputs[stage.name])
            torch.testing.assert_close(output, inputs[following.name][0])


def test_figure5a(monkeypatch, tmp_path):
    sizes = []

    def time_in_turn(calls, rounds):
        for call in calls.values():
            sizes.append(len(call.args[0]))
        return {key: [.5, .25, .1] for key in calls}

    monkeypatch.setattr(throughput, 'time_in_turn', time_in_turn)
    options = Options(tmp_path, batch_size=2, rounds=3)
    table, = throughput.figure5a(options)
    assert len(table.rows) == 2 * 4 + 3 * 5 == len(sizes)
    assert set(sizes) == {2}
    row = table.rows[1]
    assert row[:2] == ['LightViT-T', '8']
    count = float(row[2])
    assert row[4:6] == [8., '±150.0%']
    assert row[6] == pytest.approx(8 * count, rel=0.01)

    saved = json.loads((tmp_path / 'figure5a.json').read_text())
    assert saved['models']['Swin-T']['throughput']['4'] == [4., 8., 20.]
    assert '(figure5a.png)' in table.notes[0]
    assert (tmp_path / 'figure5a.png').read_bytes().startswith(PNG)


def test_figure5a_shows_every_stage():
    counts = {name: {'stem': 10**9, '32': 3 * 10**9} for name in STAGED}
    rates = {name: {'stem': 2., '32': 5. + i} for i, name in enumerate(STAGED)}
    upper, lower = throughput.draw_figure5a(counts, rates).axes
    for i, name in enumerate(STAGED):
        bars = upper.containers[i]
        assert bars.get_label() == name
        assert [bar.get_height() for bar in bars] == [2., 5. + i]
        # Stems stand around the first tick, stages of stride 32 at the last.
        assert [round(bar.get_center()[0]) for bar in bars] == [0, 4]
        heights = [bar.get_height() for bar in lower.containers[i]]
        assert heights == [2., 3 * (5. + i)]
    assert [label.get_text() for label in lower.get_xticklabels()] == [
        'stem', '4', '8', '16', '32'
    ]
