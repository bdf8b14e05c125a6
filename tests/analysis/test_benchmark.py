"""Speed measured side by side, and Table 3 and Figures 1 and 5a by it."""

import json
import math
import re
import runpy
import time
from dataclasses import asdict
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from lightvit_mm import LightViT, config
from lightvit_mm.analysis import benchmark, runtimes
from lightvit_mm.analysis.benchmark import Result
from lightvit_mm.analysis.complexity import count_multiply_adds, count_parameters
from lightvit_mm.analysis.plain import PlainLightViT, state_plainly
from lightvit_mm.analysis.runtimes import RUNTIMES, Runner, Setup
from lightvit_mm.paper import Options

pytest.importorskip('timm')
pytest.importorskip('mmpretrain')
pytest.importorskip('matplotlib')
from lightvit_mm.paper import throughput
from lightvit_mm.paper.throughput import MEASURED, STAGED, TABLE3, Speed

LIGHTVIT_T = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
TOOL = str(Path(__file__).parents[2] / 'tools/analysis/benchmark.py')
TINY = dict(
    embed_dims=(8, 16), depths=(1, 1), num_heads=(2, 2), mlp_ratios=(2, 2), num_tokens=3
)
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
    path.write_text(
        "_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n"
        'model = dict(backbone=dict(init_cfg=dict(\n'
        "    type='Pretrained', checkpoint='nowhere.pth')))\n"
    )
    model = benchmark.build(str(path))
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_detector_takes_images_alone():
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
def test_missing_library_is_named_with_its_command(name, message, monkeypatch):
    monkeypatch.setattr(config, 'find_spec', lambda module: None)
    with pytest.raises(ModuleNotFoundError) as info:
        benchmark.build(name)
    assert str(info.value) == message


def test_features_are_the_maps_of_all_stages():
    model = benchmark.build(LIGHTVIT_T, features=True)
    shapes = [tuple(x.shape) for x in model(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]


def test_model_of_one_size_is_built_for_the_images():
    model = benchmark.build('swin_tiny_patch4_window7_224', (64, 96), features=True)
    shapes = [tuple(x.shape[1:3]) for x in model(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_no_weights_are_zero():
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
            'plain is for LightViT, and none of a, b has it',
        ),
        (
            nn.Identity(),
            Setup(mode='training', with_cp=True),
            'with_cp is for LightViT, and none of a, b has it',
        ),
        (Picky(), Setup(shape=(5, 7)), 'a cannot take images of 5 x 7; .*: too odd'),
    ],
)
def test_models_that_do_not_fit_are_an_error(model, setup, message, monkeypatch):
    monkeypatch.setattr(benchmark, 'build', lambda *args: model)
    with pytest.raises(ValueError, match=message):
        benchmark.build_all(['a', 'b'], setup)


# The plain statement


@pytest.mark.parametrize('shape', [(64, 64), (70, 57)])
def test_plain_statement_computes_the_backbone(shape):
    backbone = LightViT('tiny').eval()
    plain = state_plainly(backbone)
    x = torch.randn(2, 3, *shape)
    expected, outs = backbone(x), plain(x)
    torch.testing.assert_close(outs, expected, rtol=1e-4, atol=1e-4)

    for results in (expected, outs):
        sum(
            (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum()
            for out in results
        ).backward()
    ours = dict(backbone.named_parameters())
    theirs = dict(plain.backbone.named_parameters())
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        gradient = theirs[name].grad
        assert gradient is not parameter.grad
        scale = gradient.abs().max()
        torch.testing.assert_close(
            parameter.grad / scale, gradient / scale, rtol=1e-4, atol=1e-4
        )


def test_plain_statement_of_a_classifier():
    model = benchmark.build(LIGHTVIT_T)
    plain = state_plainly(model)
    assert isinstance(plain.backbone, PlainLightViT)
    assert isinstance(model.backbone, LightViT)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), rtol=1e-4, atol=1e-4)


def test_plain_runtime_runs_the_plain_statement(monkeypatch):
    monkeypatch.setattr(PlainLightViT, 'forward', lambda self, x: 'plain')
    model = LightViT(TINY, out_indices=(1,))
    runner = runtimes.start('plain', model, Setup(['plain']), None)
    assert runner.run(torch.zeros(1, 3, 8, 8)) == 'plain'


# Speed and memory


def fake_start(log):
    """Runners that write down what they run and take no time."""

    def start(runtime, model, setup, folder):

        def run(x):
            log.append((type(model).__name__, runtime, len(x)))

        return Runner(run, 10 * len(runtime), lambda x: 100 * len(x))

    return start


def test_all_take_turns(monkeypatch):
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
    assert log == 2 * turn + 2 * turn  # two to warm up
    assert len(results) == 8
    assert results[0] == Result('a', 'eager', 4, [1, 9], 400, 50)
    assert results[7] == Result('b', 'int8', 1, [8, 16], 100, 40)
    assert results[0].throughput == [4.0, 4 / 9]


def test_only_lightvit_is_stated_plainly(monkeypatch):
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


# Runtimes


def test_pytorch_gives_the_outputs(monkeypatch):
    compile = torch.compile
    compiled = []

    def compile_quickly(model, dynamic):
        compiled.append(model)
        return compile(model, dynamic=dynamic, backend='eager')

    monkeypatch.setattr(torch, 'compile', compile_quickly)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Sigmoid())
    setup = Setup(['plain', 'eager', 'compiled'])
    for runtime in setup.runtimes:
        runner = runtimes.start(runtime, model, setup, None)
        assert runner.size == 4 * (192 * 4 + 4)
        x = torch.randn(3, 3, 8, 8)
        torch.testing.assert_close(runner.run(x), model(x), rtol=1e-4, atol=1e-4)
    assert compiled == [model]


@pytest.mark.parametrize(
    'runtime, tolerance', [('onnxruntime', 1e-4), ('openvino', 1e-4), ('int8', 0.03)]
)
def test_files_give_the_outputs(runtime, tolerance, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    model = LightViT(TINY, out_indices=(0, 1))
    setup = Setup([runtime], shape=(64, 96))
    runner = runtimes.start(runtime, model, setup, tmp_path)
    path = tmp_path / ('int8.onnx' if runtime == 'int8' else 'model.onnx')
    assert runner.size == path.stat().st_size
    for n in (3, 1):
        x = torch.randn(n, 3, 64, 96)
        with torch.no_grad():
            expected = model(x)
        outs = runner.run(x)
        assert len(outs) == 2
        errors = [
            (torch.from_numpy(out) - right).norm() / right.norm()
            for out, right in zip(outs, expected)
        ]
        assert max(errors) < tolerance
        # Or nothing was quantised.
        assert runtime != 'int8' or max(errors) > 1e-3


def test_files_run_on_the_threads_of_pytorch(monkeypatch, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    openvino = pytest.importorskip('openvino')
    used = []

    class Core:
        def compile_model(self, path, device, config):
            used.append(config['INFERENCE_NUM_THREADS'])
            assert config['INFERENCE_PRECISION_HINT'] == 'f32'

    def session(path, options, providers):
        used.append(options.intra_op_num_threads)
        return MagicMock()

    monkeypatch.setattr(openvino, 'Core', Core)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    (tmp_path / 'model.onnx').touch()
    torch.set_num_threads(2)
    for runtime in ('onnxruntime', 'openvino'):
        runtimes.start(runtime, nn.Identity(), Setup([runtime]), tmp_path)
    assert used == [2, 2]


def test_peak_memory_of_a_file_has_its_weights(tmp_path):
    pytest.importorskip('onnxruntime')
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 200_000))
    setup = Setup(['onnxruntime'], shape=(8, 8))
    runner = runtimes.start('onnxruntime', model, setup, tmp_path)
    weights = runtimes.weight_bytes(model)
    peak = runner.peak_memory(torch.zeros(10, 3, 8, 8))
    assert weights < runner.size < weights + 10_000
    assert weights < peak < 2 * weights


@pytest.mark.parametrize(
    'dtype, expected', [('fp32', torch.float32), ('bf16', torch.bfloat16)]
)
def test_precision(dtype, expected):
    run = runtimes.prepare(nn.Linear(3, 4), 'cpu', dtype)
    output = run(torch.zeros(2, 3))
    assert output.dtype == expected and output.is_inference()


@pytest.mark.parametrize(
    'widths, held',
    [
        ((10, 10, 20, 40), 60),  # the first output is free before the third
        ((10, 70, 5, 5), 75),
    ],
)
def test_peak_memory_is_that_of_live_activations(widths, held):
    model = nn.Sequential(*[nn.Linear(c, d) for c, d in zip(widths, widths[1:])])
    model.register_buffer('unused', torch.zeros(100, dtype=torch.float64))
    x = torch.zeros(1000, widths[0])
    run = runtimes.prepare(model, 'cpu')
    run(x)
    peak = runtimes.peak_memory(model, lambda: run(x), 'cpu')
    assert peak == 4 * count_parameters(model) + 800 + 4 * 1000 * held


# Training


def test_training_step_counts_the_backward_pass():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1000), nn.Dropout(0.5))
    reached = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: reached.append((name, bool(p.grad.any())))
        )
    setup = Setup(mode='training')
    runner = runtimes.start('eager', model.eval(), setup, None)
    assert model.training
    x = torch.randn(2, 3, 8, 8)
    runner.run(x)
    assert sorted(reached) == [('1.bias', True), ('1.weight', True)]
    # They are not left to the next step, but a part of this one's peak.
    assert all(p.grad is None for p in model.parameters())
    weights = runtimes.weight_bytes(model)
    assert 2 * weights < runner.peak_memory(x) < 2.5 * weights


def test_training_step_in_mixed_precision():
    seen = []
    model = nn.Linear(3, 4)
    model.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    runtimes.prepare_step(model, 'cpu', 'bf16')(torch.zeros(2, 3))
    assert seen == [torch.bfloat16]


def test_loss():
    scores = torch.zeros(5, 7, requires_grad=True)
    assert runtimes._loss(scores).item() == pytest.approx(math.log(7))
    maps = [
        torch.full((1, 2, s, s), s, dtype=torch.float32, requires_grad=True)
        for s in (2, 3)
    ]
    boxes = torch.full((4, 4), 9.0)  # without a gradient
    assert runtimes._loss((maps, boxes)).item() == pytest.approx(4 + 9)


@pytest.mark.parametrize('with_cp', [False, True])
def test_blocks_are_recomputed_if_asked(with_cp, monkeypatch):
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


# Misuse


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(rounds=0), 'rounds=0 should be at least 1'),
        (dict(batch_sizes=(2, -1)), 'batch_size=-1 should be at least 1'),
        (dict(shape=(0, 5)), 'shape=0 should be at least 1'),
        (dict(runtimes=['jax']), "runtime='jax' should be one of"),
        (dict(mode='test'), "mode='test' should be one of"),
        (dict(dtype='fp8'), "dtype='fp8' should be one of"),
        (dict(device='tpu'), "device='tpu' should be one of"),
        (dict(with_cp=True), "with_cp is for mode='training'"),
        (
            dict(runtimes=['int8'], mode='training'),
            "'int8' is for inference in fp32 on cpu, not for training in fp32",
        ),
        (dict(runtimes=['openvino'], dtype='bf16'), 'not for inference in bf16'),
    ],
)
def test_bad_setup_is_an_error(changed, message):
    with pytest.raises(ValueError, match=message):
        Setup(**changed)


def test_absent_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match="choose 'cpu'"):
        Setup(device='cuda')


def test_absent_runtime_is_an_error(monkeypatch):
    monkeypatch.setattr(
        config, 'find_spec', lambda name: None if name == 'openvino' else name
    )
    Setup(['onnxruntime'])
    for runtime in ('openvino', 'int8'):
        with pytest.raises(ModuleNotFoundError, match='pip install openvino'):
            Setup([runtime])


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


def test_tables():
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
        # Of each round by itself: 4, 3 and 1.
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


def test_plot():
    figure = benchmark.draw(results(), SETUP)
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
    # Of pvt_v2_b0 below the others, from the slowest round to the fastest.
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


def test_tool(monkeypatch, tmp_path, capsys):
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


def test_tool_measures(monkeypatch, tmp_path):
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
        (['pvt_v2_b0', '--device', 'cuda'], 'there is none'),
        (['pvt_v2_b0', '--with-cp'], "with_cp is for mode='training'"),
        (['pvt_v2_b0', '--plain'], 'plain is for LightViT'),
        (['pvt_v2_b0', '--out', __file__], 'File exists'),
    ],
)
def test_tool_answers_misuse_in_a_line(args, message, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(benchmark, 'measure', None)  # nothing is measured
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as info:
        run_tool(monkeypatch, *args)
    text = str(info.value)
    assert message in text and '\n' not in text


# Table 3


def rounds_to(ours, published):
    """Whether it has the paper's digits: one decimal, or none."""
    return abs(ours - published) <= (0.5 if isinstance(published, int) else 0.05)


@pytest.mark.parametrize(
    'name, parameters, multiply_adds, as_authors',
    [
        ('LightViT-T', '9.378', '0.772', '0.733'),
        ('LightViT-S', '19.200', '1.825', '1.743'),
        ('LightViT-B', '35.196', '4.107', '3.923'),
    ],
)
def test_lightvit_in_the_table(name, parameters, multiply_adds, as_authors):
    (row,) = [row for row in throughput.complexity_table().rows if row[0] == name]
    assert (row[2], row[5], row[8]) == (parameters, multiply_adds, as_authors)
    published = MEASURED[name]
    assert rounds_to(float(parameters), published.parameters)
    assert rounds_to(float(as_authors), published.multiply_adds)


def test_other_models_are_those_of_the_paper():
    counts = throughput.complexities()
    differ = {
        key: {
            name
            for name, row in MEASURED.items()
            if not rounds_to(getattr(counts[name], key) / unit, getattr(row, key))
        }
        for key, unit in (('parameters', 1e6), ('multiply_adds', 1e9))
    }
    # PVTv2's own code has these numbers; the others are rounded up.
    assert differ['parameters'] == {'PVTv2-B0', 'PVTv2-B1', 'RegNetY-4G', 'Swin-T'}
    # MobileViT is published for a larger image; Swin publishes 4.5 G. The
    # paper has LightViT's by the authors' formula.
    assert differ['multiply_adds'] == {
        'MobileViT-XS',
        'MobileViT-S',
        'Swin-T',
        'LightViT-T',
        'LightViT-S',
        'LightViT-B',
    }


@pytest.mark.parametrize(
    'name, config',
    [
        ('MobileViT-XS', 'mobilevit/mobilevit-xsmall_8xb128_in1k.py'),
        ('MobileViT-S', 'mobilevit/mobilevit-small_8xb128_in1k.py'),
        ('DeiT-Ti', 'deit/deit-tiny_4xb256_in1k.py'),
        ('DeiT-S', 'deit/deit-small_4xb256_in1k.py'),
        ('Twins-PCPVT-S', 'twins/twins-pcpvt-small_8xb128_in1k.py'),
        ('Swin-T', 'swin_transformer/swin-tiny_16xb64_in1k.py'),
    ],
)
def test_timm_and_mmpretrain_agree(name, config):
    model = benchmark.build(f'mmpretrain::{config}')
    counts = throughput.complexities()[name]
    assert count_parameters(model) == counts.parameters
    assert (
        count_multiply_adds(model, torch.zeros(1, 3, 224, 224)) == counts.multiply_adds
    )


def speeds():
    """Three rounds, whose median is the second or the third."""
    return {
        name: Speed(
            [pytest.approx(row.throughput / 40 * x) for x in (0.9, 1.0, 1.2)],
            [30.0, 10.0, 20.0],
            1e3,
        )
        for name, row in MEASURED.items()
    }


@pytest.fixture
def measured(monkeypatch):
    """Counts the measurements of Table 3, none of which takes place."""
    throughput.complexities()  # builds models, and is kept
    calls = []

    def measure(models, setup):
        calls.append(setup)
        assert set(models) == set(MEASURED) and setup.shape == (224, 224)
        n = setup.batch_sizes[0]
        made = []
        for name, row in MEASURED.items():
            seconds = [40 * n / row.throughput / x for x in (0.9, 1.0, 1.2)]
            made += [
                Result(name, 'eager', n, seconds, 10**9, 1),
                Result(name, 'eager', 1, [0.03, 0.01, 0.02], 10**6, 1),
            ]
        return made

    monkeypatch.setattr(throughput, 'measure', measure)
    monkeypatch.setattr(throughput, 'build', lambda name: None)
    return calls


def test_table3(measured, tmp_path):
    options = Options(tmp_path / 'out', amp=True, batch_size=2, rounds=3)
    complexity, speed = throughput.table3(options)
    assert measured == [Setup(['eager'], batch_sizes=[2, 1], dtype='bf16', rounds=3)]
    assert (
        [row[0] for row in complexity.rows]
        == [row[0] for row in speed.rows]
        == [row.name for row in TABLE3]
    )
    rows = {row[0]: row[1:] for row in speed.rows}
    assert rows['DeiT-S'] == [
        'Transformer',
        pytest.approx(961 / 40),
        '±20.0%',
        '0.37',
        '0.37',
        961,
        '20.00',
        '1000',
        '79.8',
    ]
    assert rows['LVT'] == ['Hybrid', None, None, None, '0.60', 1545, None, None, '74.8']
    note = speed.notes[0]
    for part in (
        torch.__version__,
        'mixed with bfloat16',
        'eager',
        'batch size 2',
        'rounds 3',
    ):
        assert part in note

    saved = json.loads((tmp_path / 'out/table3.json').read_text())
    assert Speed(**saved['models']['Swin-T']['speed']) == speeds()['Swin-T']
    assert saved['models']['LightViT-B']['complexity']['parameters'] == (
        throughput.complexities()['LightViT-B'].parameters
    )


def test_one_round_has_no_spread():
    only = {name: Speed([1.0], [1.0], 1.0) for name in MEASURED}
    conditions = throughput._conditions(Options(None, rounds=1))
    table = throughput.speed_table(only, conditions)
    assert {row[3] for row in table.rows} == {None}


# Figure 1


def test_figure1_uses_table3_of_the_same_settings(measured, tmp_path):
    options = Options(tmp_path, rounds=3)
    throughput.table3(options)
    (table,) = throughput.figure1(options)
    assert len(measured) == 1
    assert 'is that of table3.json' in table.notes[1]
    assert '(figure1.png)' in table.notes[0]
    assert (tmp_path / 'figure1.png').read_bytes().startswith(PNG)

    (table,) = throughput.figure1(Options(tmp_path, rounds=3, compile=True))
    assert [setup.runtimes for setup in measured] == [['eager'], ['compiled']]
    assert 'was measured for this figure' in table.notes[1]
    saved = json.loads((tmp_path / 'table3.json').read_text())
    assert saved['settings']['mode'] == 'compiled'


def test_figure1_shows_every_model():
    rates = {name: 10.0 + i for i, name in enumerate(MEASURED)}
    axes = throughput.draw_figure1(rates).axes
    counts = throughput.complexities()
    for ax, values in zip(
        axes,
        ({name: count.multiply_adds / 1e9 for name, count in counts.items()}, rates),
    ):
        lines = {line.get_label(): line for line in ax.lines}
        for block in ('CNN', 'Hybrid', 'Transformer', 'LightViT'):
            expected = [
                [values[name], row.top1]
                for name, row in MEASURED.items()
                if block == ('LightViT' if 'LightViT' in name else row.block)
            ]
            assert lines[block].get_xydata().tolist() == expected
        assert len({line.get_marker() for line in ax.lines}) == 4
        assert [
            label for label, line in lines.items() if line.get_linestyle() == '-'
        ] == ['LightViT']
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
        return {key: [0.5, 0.25, 0.1] for key in calls}

    monkeypatch.setattr(throughput, 'time_in_turn', time_in_turn)
    options = Options(tmp_path, batch_size=2, rounds=3)
    (table,) = throughput.figure5a(options)
    assert len(table.rows) == 2 * 4 + 3 * 5 == len(sizes)
    assert set(sizes) == {2}
    row = table.rows[1]
    assert row[:2] == ['LightViT-T', '8']
    count = float(row[2])
    assert row[4:6] == [8.0, '±150.0%']
    assert row[6] == pytest.approx(8 * count, rel=0.01)

    saved = json.loads((tmp_path / 'figure5a.json').read_text())
    assert saved['models']['Swin-T']['throughput']['4'] == [4.0, 8.0, 20.0]
    assert '(figure5a.png)' in table.notes[0]
    assert (tmp_path / 'figure5a.png').read_bytes().startswith(PNG)


def test_figure5a_shows_every_stage():
    counts = {name: {'stem': 10**9, '32': 3 * 10**9} for name in STAGED}
    rates = {name: {'stem': 2.0, '32': 5.0 + i} for i, name in enumerate(STAGED)}
    upper, lower = throughput.draw_figure5a(counts, rates).axes
    for i, name in enumerate(STAGED):
        bars = upper.containers[i]
        assert bars.get_label() == name
        assert [bar.get_height() for bar in bars] == [2.0, 5.0 + i]
        # Stems stand around the first tick, stages of stride 32 at the last.
        assert [round(bar.get_center()[0]) for bar in bars] == [0, 4]
        heights = [bar.get_height() for bar in lower.containers[i]]
        assert heights == [2.0, 3 * (5.0 + i)]
    assert [label.get_text() for label in lower.get_xticklabels()] == [
        'stem',
        '4',
        '8',
        '16',
        '32',
    ]
