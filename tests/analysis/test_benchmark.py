"""Side-by-side measurements of speed: models, rounds, tables and the tool."""

import json
import re
import runpy
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from lightvit_mm import LightViT, installed
from lightvit_mm.analysis import benchmark, runtimes
from lightvit_mm.analysis.benchmark import Result
from lightvit_mm.analysis.runtimes import RUNTIMES, RunningModel, Setup

pytest.importorskip('timm')
pytest.importorskip('mmpretrain')

LIGHTVIT_T = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
TOOL = str(Path(__file__).parents[2] / 'tools/analysis/benchmark.py')
TINY = dict(
    embed_dims=(8, 16), depths=(1, 1), num_heads=(2, 2), mlp_ratios=(2, 2), num_tokens=3
)
PNG = b'\x89PNG'


# Building models by name


@pytest.mark.parametrize('name', ['pvt_v2_b0', LIGHTVIT_T])
def test_model_scores_images(name):
    model = benchmark.build(name)
    assert not any(module.training for module in model.modules())
    assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)


def test_config_file_builds_without_pretrained_weights(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n"
        'model = dict(backbone=dict(init_cfg=dict(\n'
        "    type='Pretrained', checkpoint='nowhere.pth')))\n"
    )
    model = benchmark.build(str(path))
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_detector_takes_images_only():
    pytest.importorskip('mmdet')
    model = benchmark.build('lightvit_mm::mask_rcnn_lightvit_t_1x.py')
    with torch.no_grad():
        ((scores, boxes, masks),) = model(torch.zeros(1, 3, 64, 96))
    assert scores.shape == (len(boxes), 81)
    assert masks.shape[1:] == (80, 28, 28)


@pytest.mark.parametrize(
    'name, error, close',
    [
        ('pvtv2_b0', ValueError, 'pvt_v2_b0'),
        ('lightvit_mm::lightvit_x_8xb128_in1k.py', FileNotFoundError, LIGHTVIT_T),
        (
            'mmpretrain::swin-tiny_16xb64_in1k.py',
            FileNotFoundError,
            'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        ),
    ],
)
def test_unknown_name_lists_close_matches(name, error, close):
    with pytest.raises(error) as info:
        benchmark.build(name)
    message = str(info.value)
    assert name in message and '\n' not in message
    matches = re.search(r'\(close to it: (.*?)\)', message)[1]
    assert close in matches.split(', ')


def test_unknown_path_lists_similar_files(tmp_path):
    (tmp_path / 'swin_tiny.py').touch()
    name = str(tmp_path / 'swin_tin.py')
    with pytest.raises(FileNotFoundError, match='swin_tiny.py'):
        benchmark.build(name)


def test_config_without_a_model_is_an_error(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("default_scope = 'mmpretrain'")
    with pytest.raises(ValueError, match='mine.py.* should have a model'):
        benchmark.build(str(path))


@pytest.mark.parametrize(
    'name, message',
    [
        ('pvt_v2_b0', 'timm is not installed: pip install timm'),
        (
            'mmseg::fcn/fcn_r50-d8.py',
            'mmseg is not installed: pip install mmsegmentation',
        ),
    ],
)
def test_missing_library_names_the_install_command(name, message, monkeypatch):
    monkeypatch.setattr(installed, 'find_spec', lambda module: None)
    with pytest.raises(ModuleNotFoundError) as info:
        benchmark.build(name)
    assert str(info.value) == message


def test_features_are_the_maps_of_all_stages():
    model = benchmark.build(LIGHTVIT_T, features=True)
    shapes = [tuple(x.shape) for x in model(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]


def test_fixed_size_model_is_built_for_the_image_size():
    model = benchmark.build('swin_tiny_patch4_window7_224', (64, 96), features=True)
    shapes = [tuple(x.shape[1:3]) for x in model(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_no_weight_tensor_is_all_zero():
    model = benchmark.build('regnety_002')
    weights = [p for name, p in model.named_parameters() if 'weight' in name]
    assert all(weight.any() for weight in weights)


def test_features_need_a_backbone(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("default_scope = 'mmpretrain'\nmodel = dict(type='A')")
    with pytest.raises(ValueError, match='should have a model with a backb'):
        benchmark.build(str(path), features=True)


class Picky(nn.Module):
    def forward(self, x):
        raise RuntimeError('too\n odd')


@pytest.mark.parametrize(
    'model, setup, message',
    [
        (
            nn.Identity(),
            Setup(['plain']),
            'plain needs a LightViT, but none of a, b has one',
        ),
        (
            nn.Identity(),
            Setup(mode='training', with_cp=True),
            'with_cp needs a LightViT, but none of a, b has one',
        ),
        (
            Picky(),
            Setup(shape=(5, 7)),
            'a does not accept images of 5 x 7; .*: too odd',
        ),
    ],
)
def test_unsuitable_models_are_an_error(model, setup, message, monkeypatch):
    monkeypatch.setattr(benchmark, 'build', lambda *args: model)
    with pytest.raises(ValueError, match=message):
        benchmark.build_all(['a', 'b'], setup)


@pytest.mark.parametrize('with_cp', [False, True])
def test_with_cp_recomputes_the_blocks(with_cp, monkeypatch):
    model = LightViT(TINY, out_indices=(1,), with_cp=not with_cp)
    monkeypatch.setattr(benchmark, 'build', lambda *args: model)
    setup = Setup(mode='training', shape=(16, 16), with_cp=with_cp)
    calls = []
    for stage in model.stages:
        stage[-1].register_forward_pre_hook(lambda *_: calls.append(1))
    models = benchmark.build_all(['a'], setup)
    calls.clear()
    runtimes.start('eager', models['a'], setup, None).run(torch.randn(1, 3, 16, 16))
    assert len(calls) == (4 if with_cp else 2)


# Measuring


def fake_start(log):
    """Models that take no time and log each run."""

    def start(runtime, model, setup, folder):

        def run(x):
            log.append((type(model).__name__, runtime, len(x)))

        return RunningModel(run, 10 * len(runtime), lambda x: 100 * len(x))

    return start


def test_all_models_take_turns_in_every_round(monkeypatch):
    log = []
    seconds = iter(range(1, 17))

    def time_one(call):
        call()
        return next(seconds)

    monkeypatch.setattr(benchmark, 'start', fake_start(log))
    monkeypatch.setattr(benchmark, 'seconds_per_call', time_one)
    setup = Setup(['eager', 'int8'], shape=(2, 2), batch_sizes=(4, 1), rounds=2)
    results = benchmark.measure(dict(a=nn.ReLU(), b=nn.GELU()), setup)

    turn = [
        (name, runtime, n)
        for name in ('ReLU', 'GELU')
        for runtime in ('eager', 'int8')
        for n in (4, 1)
    ]
    assert log == 2 * turn + 2 * turn  # two warm-up calls each
    assert len(results) == 8
    assert results[0] == Result('a', 'eager', 4, [1, 9], 400, 50)
    assert results[7] == Result('b', 'int8', 1, [8, 16], 100, 40)
    assert results[0].throughput == [4.0, 4 / 9]


def test_only_lightvit_has_a_plain_version(monkeypatch):
    log = []
    monkeypatch.setattr(benchmark, 'start', fake_start(log))
    monkeypatch.setattr(benchmark, 'seconds_per_call', lambda call: 1.0)
    models = dict(a=nn.Identity(), b=nn.Sequential(LightViT(TINY, out_indices=(1,))))
    setup = Setup(['plain', 'eager'], batch_sizes=(1,), shape=(8, 8))
    results = benchmark.measure(models, setup)
    assert [(r.model, r.runtime) for r in results] == [
        ('a', 'eager'),
        ('b', 'plain'),
        ('b', 'eager'),
    ]


def test_spread_is_the_largest_deviation_from_the_median():
    assert benchmark.spread([10.0, 7.0, 10.5, 12.0, 10.0]) == pytest.approx(0.3)


def test_seconds_per_call_runs_on_all_threads():
    used = []

    def call():
        used.append(torch.get_num_threads())
        time.sleep(0.01)

    torch.set_num_threads(2)
    seconds = benchmark.seconds_per_call(call, min_run_time=0.05)
    assert seconds >= 0.01
    assert set(used) == {2} and len(used) > 2


# Tables, JSON, plot and the tool

SETUP = Setup(['plain', 'eager', 'int8'], shape=(64, 96), batch_sizes=(1, 8), rounds=3)


def results():
    return [
        Result(name, runtime, n, [s * n for s in seconds], memory, 2_500_000)
        for name, runtime, seconds, memory in (
            (LIGHTVIT_T, 'plain', [0.4, 0.9, 0.2], 30_000_000),
            (LIGHTVIT_T, 'eager', [0.1, 0.3, 0.2], 20_000_000),
            (LIGHTVIT_T, 'int8', [0.1, 0.1, 0.1], None),
            ('pvt_v2_b0', 'eager', [0.5, 0.25, 0.2], 10_000_000),
        )
        for n in (1, 8)
    ]


def test_tables_have_a_row_per_model_and_runtime():
    single, batch = benchmark.tables(results(), SETUP)
    assert single.title == 'Inference, batch size 1'
    assert single.rows == [
        [
            'lightvit_t_8xb128_in1k',
            'plain',
            '400.00',
            '2.5',
            '±100.0%',
            '30',
            '2.5',
            '1.00',
        ],
        # The ratios of the rounds are 4, 3 and 1.
        [
            'lightvit_t_8xb128_in1k',
            'eager',
            '200.00',
            '5.0',
            '±100.0%',
            '20',
            '2.5',
            '3.00',
        ],
        [
            'lightvit_t_8xb128_in1k',
            'int8',
            '100.00',
            '10.0',
            '±0.0%',
            None,
            '2.5',
            '4.00',
        ],
        ['pvt_v2_b0', 'eager', '250.00', '4.0', '±50.0%', '10', '2.5', None],
    ]
    assert [row[2] for row in batch.rows] == ['3200.00', '1600.00', '800.00', '2000.00']
    text = batch.markdown()
    for part in (
        f'PyTorch {torch.__version__}',
        ', timm ',
        ', onnxruntime ',
        ', openvino ',
        'threads 1',
        'inference at 64 × 96 in float32',
        'rounds 3',
        'calibrated on random images',
        'resident memory',
        'Over plain: ',
    ):
        assert part in text
    assert 'recomputes' not in text and 'with_cp' not in text


def test_notes_of_training():
    setup = Setup(mode='training', dtype='bf16', with_cp=True, features=True)
    made = [Result(LIGHTVIT_T, 'eager', n, [1.0], 1, 1) for n in (1, 16)]
    text = benchmark.tables(made, setup)[-1].markdown()
    for part in (
        'mixed bfloat16',
        'recomputes',
        'without the optimizer',
        'of backbones with maps',
    ):
        assert part in text
    assert 'timm' not in text and 'int8' not in text


def test_plot_shows_medians_and_slowest_and_fastest_rounds():
    figure = benchmark.draw_throughput(results(), SETUP)
    axes = figure.axes
    assert [ax.get_title() for ax in axes] == ['Batch size 1', 'Batch size 8']
    for ax in axes:
        bars = {
            bars.get_label(): [bar.get_width() for bar in bars]
            for bars in ax.containers
            if bars.get_label() in RUNTIMES
        }
        assert bars == dict(
            plain=[pytest.approx(2.5)],
            eager=[pytest.approx(5), pytest.approx(4)],
            int8=[pytest.approx(10)],
        )
    # The error bar of pvt_v2_b0 spans the slowest and the fastest round.
    errors = axes[0].collections[1].get_segments()
    assert errors[1][:, 0].tolist() == pytest.approx([2, 5])
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        'lightvit_t_8xb128_in1k',
        'pvt_v2_b0',
    ]
    assert axes[0].yaxis_inverted()


def run_tool(monkeypatch, *args):
    monkeypatch.setattr('sys.argv', [TOOL, *map(str, args)])
    runpy.run_path(TOOL, run_name='__main__')


def test_tool_writes_markdown_json_and_plot(monkeypatch, tmp_path, capsys):
    seen = []

    def measure(models, setup):
        seen.append((list(models), setup))
        return results()

    monkeypatch.setattr(benchmark, 'measure', measure)
    run_tool(
        monkeypatch,
        LIGHTVIT_T,
        'pvt_v2_b0',
        '--shape',
        64,
        96,
        '--plain',
        '--runtime',
        'eager',
        'int8',
        '--batch-size',
        1,
        8,
        '--rounds',
        3,
        '--out',
        tmp_path,
    )
    ((names, setup),) = seen
    assert names == [LIGHTVIT_T, 'pvt_v2_b0']
    assert {**asdict(setup), 'shape': (64, 96), 'batch_sizes': (1, 8)} == asdict(SETUP)
    text = (tmp_path / 'benchmark.md').read_text()
    assert text in capsys.readouterr().out
    assert text.count('\n### ') == 1 and text.startswith('### ')
    saved = json.loads((tmp_path / 'benchmark.json').read_text())
    assert [Result(**one) for one in saved['results']] == results()
    assert saved['setup']['shape'] == [64, 96]
    assert set(saved['versions']) == {'onnx', 'onnxruntime', 'openvino', 'timm'}
    assert saved['environment']['torch'] == torch.__version__
    assert (tmp_path / 'benchmark.png').read_bytes().startswith(PNG)


def test_tool_measures_a_model(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, 'seconds_per_call', lambda call: 0.5)
    run_tool(
        monkeypatch,
        'lightvit_mm::lightvit_t_8xb128_in1k.py',
        '--shape',
        32,
        32,
        '--mode',
        'training',
        '--features',
        '--with-cp',
        '--batch-size',
        2,
        '--out',
        tmp_path,
    )
    saved = json.loads((tmp_path / 'benchmark.json').read_text())
    (result,) = saved['results']
    assert result['seconds'] == [0.5] * 5
    assert saved['setup']['with_cp'] and saved['setup']['features']


@pytest.mark.parametrize(
    'args, message',
    [
        (['pvtv2_b0'], "'pvtv2_b0' should be a model of timm"),
        (['mine.py'], 'There is no config mine.py'),
        (['pvt_v2_b0', '--rounds', 0], 'rounds=0 should be at least 1'),
        (['pvt_v2_b0', '--device', 'cuda'], 'PyTorch finds none'),
        (['pvt_v2_b0', '--with-cp'], "with_cp needs mode='training'"),
        (['pvt_v2_b0', '--plain'], 'plain needs a LightViT'),
        (['pvt_v2_b0', '--out', __file__], 'File exists'),
    ],
)
def test_tool_reports_misuse_in_one_line(args, message, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(benchmark, 'measure', None)  # nothing is measured
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as info:
        run_tool(monkeypatch, *args)
    text = str(info.value)
    assert message in text and '\n' not in text
