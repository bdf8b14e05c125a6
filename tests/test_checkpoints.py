"""Reading, converting and downloading weights.

The authors' names and shapes are from ``golden/official_state_dicts.json``,
the state dicts of their released code: the classifiers, and the backbones of
their detectors.
"""

import functools
import io
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from lightvit_mm import LightViT, checkpoints, downloads
from lightvit_mm.checkpoints import (
    RELEASED,
    CheckpointError,
    convert,
    detect_layout,
    read_state_dict,
    save_state_dict,
)
from lightvit_mm.weights import KNOWN_SUMS

from . import golden, hosts
from .hostile import Bomb


@pytest.fixture(autouse=True)
def protection(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)


ROOT = Path(__file__).resolve().parents[1]
OFFICIAL = json.loads((golden.FOLDER / 'official_state_dicts.json').read_text())
CASES = {
    case['arch'].split('_')[1]: case
    for case in golden.load('golden')
    if case['kind'] == 'cls'
}
FILES = dict(
    tiny='lightvit_tiny_78.7.ckpt',
    small='lightvit_small_80.9.ckpt',
    base='lightvit_base_82.1.ckpt',
)
TINY = 'lightvit://tiny-in1k'
# A small network, for tests that do not depend on its size.
NANO = dict(
    embed_dims=(8, 16, 32),
    depths=(1, 1, 1),
    num_heads=(2, 2, 4),
    mlp_ratios=(2, 2, 2),
    num_tokens=2,
)

# mmdet 2.14: Mask R-CNN with an FPN of 256 channels on COCO's 80 classes.
MMDET_2_HEADS = {
    'rpn_head.rpn_conv': (256, 256, 3, 3),
    'rpn_head.rpn_cls': (3, 256, 1, 1),
    'rpn_head.rpn_reg': (12, 256, 1, 1),
    'roi_head.bbox_head.fc_cls': (81, 1024),
    'roi_head.bbox_head.fc_reg': (320, 1024),
    'roi_head.bbox_head.shared_fcs.0': (1024, 12544),
    'roi_head.bbox_head.shared_fcs.1': (1024, 1024),
    'roi_head.mask_head.convs.0.conv': (256, 256, 3, 3),
    'roi_head.mask_head.convs.1.conv': (256, 256, 3, 3),
    'roi_head.mask_head.convs.2.conv': (256, 256, 3, 3),
    'roi_head.mask_head.convs.3.conv': (256, 256, 3, 3),
    'roi_head.mask_head.upsample': (256, 256, 2, 2),
    'roi_head.mask_head.conv_logits': (80, 256, 1, 1),
}


def assert_same(state_dict, expected):
    """The same names in the same order, and the same bits."""
    assert list(state_dict) == list(expected)
    for key, value in expected.items():
        assert state_dict[key].dtype == value.dtype, key
        assert torch.equal(state_dict[key], value), key


def snapshot(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@functools.cache
def authors_weights(arch):
    """A classifier of the golden cases under the authors' names."""
    buffers = LightViT(arch).state_dict()
    shapes = OFFICIAL[f'classification/lightvit_{arch}']
    return golden.rule_state_dict(
        {
            key: buffers[key] if key in buffers else torch.empty(shape)
            for key, shape in shapes.items()
        },
        CASES[arch]['salt'],
    )


def mmdet_2_weights(sizes=lambda shape: shape):
    """A random Mask R-CNN with LightViT-T under the names of mmdet 2.x."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        f'backbone.{key}': shape
        for key, shape in OFFICIAL['detection/lightvit_tiny'].items()
    }
    for key, shape in golden.load('golden_neck')[0]['shapes'].items():
        # The golden neck has 16 output channels instead of 256.
        shapes[f'neck.{key}'] = [256 if s == 16 else s for s in shape]
    for key, shape in MMDET_2_HEADS.items():
        outs = shape[1] if 'upsample' in key else shape[0]
        shapes.update({f'{key}.weight': shape, f'{key}.bias': (outs,)})
    weights = {}
    for key, shape in shapes.items():
        if key.endswith(('relative_position_index', 'num_batches_tracked')):
            weights[key] = torch.randint(49, sizes(shape), generator=generator)
        else:
            weights[key] = torch.randn(sizes(shape), generator=generator)
    return weights


def small_authors_weights():
    """Small tensors under the authors' names of LightViT-T."""
    keys = OFFICIAL['classification/lightvit_tiny']
    return {key: torch.full((1, 2), float(i)) for i, key in enumerate(keys)}


def build_classifier(arch):
    from mmpretrain.registry import MODELS

    cfg = Config.fromfile(ROOT / 'configs/_base_/lightvit_classifier.py').model
    cfg.backbone.arch = arch
    cfg.neck.in_channels = LightViT.arch_zoo[arch]['embed_dims'][-1]
    # Another test may have left the scope of its runner.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def build_detector(**backbone):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = Config.fromfile(ROOT / 'configs/mask_rcnn_lightvit_t_1x.py').model
    cfg.backbone.update(backbone)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder from which lightvit:// takes its files."""
    folder = tmp_path / 'published'
    folder.mkdir()
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(folder))
    return folder


def as_trained(weights):
    """What the authors' trainer writes."""
    return dict(
        epoch=299,
        model=weights,
        ema_model=None,
        optimizer=dict(state={}, param_groups=[dict(lr=1e-3, params=[0])]),
        dyrep=None,
    )


WRAPPERS = dict(
    bare=lambda weights: weights,
    state_dict=lambda weights: dict(state_dict=weights),
    model=as_trained,
    ema_model=lambda weights: dict(epoch=1, model=None, ema_model=weights),
)


def save_as(path, weights, wrapper, prefix):
    weights = {prefix + key: value for key, value in weights.items()}
    torch.save(WRAPPERS[wrapper](weights), path)


@pytest.mark.parametrize(
    'arch, wrapper, prefix',
    [
        ('tiny', 'bare', ''),
        ('tiny', 'state_dict', 'module.'),
        ('tiny', 'model', ''),
        ('small', 'model', 'module.'),
        ('base', 'state_dict', ''),
    ],
)
def test_published_classifiers_give_the_golden_logits(folder, arch, wrapper, prefix):
    save_as(folder / FILES[arch], authors_weights(arch), wrapper, prefix)
    model = build_classifier(arch).double().eval()
    load_checkpoint(model, f'lightvit://{arch}-in1k', strict=True)
    case = CASES[arch]
    shape = (case['batch'], 3, case['height'], case['width'])
    image = np.random.RandomState(case['seed']).standard_normal(shape)
    with torch.no_grad():
        logits = model(torch.from_numpy(image.astype(np.float32)).double())
    expected = case['outputs'][0]
    np.testing.assert_allclose(
        logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )
    num_parameters = sum(p.numel() for p in model.parameters()) / 1e6
    assert num_parameters == pytest.approx(
        dict(tiny=9.378, small=19.200, base=35.196)[arch], abs=5e-4
    )


@pytest.mark.parametrize('prefix', ['', 'module.', 'module.module.'])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_every_wrapper_is_read(tmp_path, wrapper, prefix):
    weights = small_authors_weights()
    save_as(tmp_path / 'file', weights, wrapper, prefix)
    assert_same(read_state_dict(tmp_path / 'file'), weights)


def test_the_published_part_is_used_and_logged(tmp_path, log):
    parts = {
        name: {'global_token': torch.full((1, 2, 3), value)}
        for name, value in (('ema_model', 0.0), ('model', 1.0), ('state_dict', 2.0))
    }
    torch.save(parts, tmp_path / 'file')
    assert_same(read_state_dict(tmp_path / 'file'), parts['state_dict'])
    assert "using 'state_dict', not model, ema_model" in log.text
    del parts['state_dict']
    torch.save(parts, tmp_path / 'file')
    assert_same(read_state_dict(tmp_path / 'file'), parts['model'])


def test_old_file_format_is_read(tmp_path):
    weights = small_authors_weights()
    torch.save(weights, tmp_path / 'f', _use_new_zipfile_serialization=False)
    assert_same(read_state_dict(tmp_path / 'f'), weights)


def test_a_detector_starts_from_a_published_classifier(folder):
    save_as(folder / FILES['tiny'], authors_weights('tiny'), 'model', '')
    model = build_detector(init_cfg=dict(type='Pretrained', checkpoint=TINY))
    model.init_weights()
    for key, value in model.backbone.state_dict().items():
        name = key.replace('norm2.', 'norm.') if key[:5] == 'norm2' else key
        if name in authors_weights('tiny'):
            expected = authors_weights('tiny')[name]
            assert torch.equal(value, expected.to(value.dtype)), key
        else:
            assert key.startswith(('norm0.', 'norm1.'))


def test_a_prefix_may_be_given(folder):
    save_as(folder / FILES['tiny'], authors_weights('tiny'), 'bare', '')
    init_cfg = dict(type='Pretrained', checkpoint=TINY, prefix='backbone.')
    model = LightViT('tiny', init_cfg=init_cfg)
    model.init_weights()
    assert torch.equal(
        model.norm2.weight, authors_weights('tiny')['norm.weight'].float()
    )


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_names_and_shapes_are_the_authors(arch):
    assert {
        key: list(value.shape) for key, value in LightViT(arch).state_dict().items()
    } == OFFICIAL[f'detection/lightvit_{arch}']


def test_a_detector_of_mmdet_2_goes_there_and_back(tmp_path):
    weights = mmdet_2_weights()
    torch.save(
        dict(
            meta=dict(CLASSES=('person', 'bicycle'), epoch=12, config='...'),
            state_dict=weights,
            optimizer=dict(state={}, param_groups=[]),
        ),
        tmp_path / '2.pth',
    )
    ours = convert(read_state_dict(tmp_path / '2.pth'), 'detector')
    save_state_dict(ours, tmp_path / '3.pth', dict())

    model = build_detector()
    load_checkpoint(model, str(tmp_path / '3.pth'), strict=True)
    loaded = model.state_dict()
    assert_same({key: loaded[key] for key in weights}, weights)

    back = convert(read_state_dict(tmp_path / '3.pth'), 'authors')
    assert_same(back, weights)


def test_a_classifier_goes_there_and_back():
    weights = authors_weights('tiny')
    ours = convert(weights, 'classifier')
    assert detect_layout(ours) == 'classifier'
    assert_same(convert(ours, 'authors'), weights)


@pytest.mark.parametrize('layout', ['authors', 'classifier'])
def test_the_backbone_of_a_classifier_is_extracted(layout, log):
    weights = small_authors_weights()
    expected = {
        key.replace('norm.', 'norm2.') if key.startswith('norm.') else key: value
        for key, value in weights.items()
        if not key.startswith(('neck.', 'head.'))
    }
    backbone = convert(convert(weights, layout), 'backbone')
    assert_same(backbone, expected)
    assert detect_layout(backbone) == 'backbone'
    assert_same(convert(backbone, 'backbone'), expected)
    assert 'left out: neck.0.weight' in log.text


@pytest.mark.parametrize(
    'heads, layout',
    [
        (('rpn_head.', 'roi_head.'), 'detector'),
        (('roi_head.',), 'detector'),
        (('bbox_head.',), 'detector'),
        (('decode_head.',), 'model'),
    ],
)
def test_the_backbone_of_any_model_is_extracted(heads, layout):
    backbone = {key: torch.rand(1, 2, 3) for key in OFFICIAL['detection/lightvit_tiny']}
    model = {f'backbone.{key}': value for key, value in backbone.items()}
    model.update({f'{head}conv.weight': torch.rand(1) for head in heads})
    assert detect_layout(model) == layout
    assert_same(convert(model, 'backbone'), backbone)


@pytest.mark.parametrize(
    'make, to, message',
    [
        (mmdet_2_weights, 'classifier', "detector.*'classifier'.*'authors'"),
        (small_authors_weights, 'detector', "authors' classifier.*'detector'"),
        (
            lambda: {'conv1.weight': torch.ones(1)},
            'backbone',
            'no weights of a LightViT: the keys are conv1.weight.*mmdet 2.x',
        ),
    ],
)
def test_a_conversion_between_other_layouts_is_refused(make, to, message):
    with pytest.raises(CheckpointError, match=message):
        convert(make(), to)


@pytest.mark.parametrize('layout', ['authors', 'classifier'])
@pytest.mark.parametrize(
    'name, message',
    [
        ('head.bias', r'Missing: .*head\.fc\.bias.*Left over: nothing'),
        ('neck.1.weight', r'Missing: .*neck\.1\.weight'),
        ('norm.weight', r'Missing: .*backbone\.norm2\.weight'),
    ],
)
def test_a_part_of_a_classifier_gives_the_backbone_only(layout, name, message):
    weights = convert(small_authors_weights(), layout)
    key = list(weights)[list(small_authors_weights()).index(name)]
    del weights[key]
    for to in ('authors', 'classifier'):
        with pytest.raises(CheckpointError, match=message):
            convert(weights, to)
    assert 'global_token' in convert(weights, 'backbone')


def test_an_unknown_part_of_a_classifier_is_named():
    weights = dict(small_authors_weights(), **{'head.aux.weight': torch.ones(1)})
    with pytest.raises(CheckpointError, match=r'Left over: .*head\.fc\.aux'):
        convert(weights, 'classifier')


@pytest.mark.parametrize('num_tokens', [8, 512])
def test_another_number_of_tokens_is_kept_and_logged(log, num_tokens):
    weights = mmdet_2_weights(lambda shape: (1,))
    token = torch.ones(1, num_tokens, 64)
    weights['backbone.global_token'] = token
    converted = convert(weights, 'detector')
    assert converted['backbone.global_token'] is token
    assert ('set model.backbone.num_tokens=512' in log.text) == (num_tokens == 512)


def cut(path, weights, fraction, **kwargs):
    torch.save(weights, path, **kwargs)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def write_zip(path):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('paper.txt', 'LightViT')


def damage(path, weights):
    torch.save(weights, path)
    content = path.read_bytes()
    at = content.index(b'global_token')
    path.write_bytes(content[:at] + bytes(64) + content[at + 64 :])


BAD_FILES = {
    'page': (
        lambda path, _: path.write_text('<!DOCTYPE html><html>'),
        'is not a PyTorch checkpoint.*<!DOCTYPE html',
    ),
    'empty': (lambda path, _: path.write_bytes(b''), 'is not a PyTorch checkpoint'),
    'zip': (lambda path, _: write_zip(path), 'cannot be read'),
    'cut at 10%': (lambda path, w: cut(path, w, 0.1), 'is truncated: its'),
    'cut at 99%': (lambda path, w: cut(path, w, 0.99), 'is truncated: its'),
    'old, cut at 1%': (
        lambda path, w: cut(path, w, 0.01, _use_new_zipfile_serialization=False),
        'cannot be read: it is truncated',
    ),
    'old, cut at 60%': (
        lambda path, w: cut(path, w, 0.6, _use_new_zipfile_serialization=False),
        'cannot be read: it is truncated',
    ),
    'damaged': (damage, 'cannot be read'),
    'no weights': (
        lambda path, w: torch.save(dict(epoch=3, lr=0.1), path),
        'holds no weights.*the keys epoch, lr',
    ),
    'optimizer': (
        lambda path, w: torch.save(
            dict(model=None, optimizer=dict(state={0: w['norm.bias']})), path
        ),
        'holds no weights.*model, optimizer',
    ),
    'list': (
        lambda path, w: torch.save(list(w.values()), path),
        'holds no weights.*list',
    ),
    'numbered': (
        lambda path, w: torch.save({0: w['norm.bias']}, path),
        'holds no weights.*the keys 0',
    ),
    'a model': (
        lambda path, w: torch.save(torch.nn.Linear(1, 1), path),
        r'was refused.*Linear',
    ),
    'no LightViT': (
        lambda path, w: torch.save(torch.nn.Linear(1, 1).state_dict(), path),
        'no weights of a LightViT',
    ),
    'no head': (
        lambda path, w: torch.save(
            {k: v for k, v in w.items() if k != 'head.weight'}, path
        ),
        r'Missing: .*head\.fc\.weight',
    ),
    'no block': (
        lambda path, w: torch.save(
            {k: v for k, v in w.items() if not k.startswith('stages.1.0')}, path
        ),
        r'do not fit.*Missing: .*stages\.1\.0\.norm',
    ),
    'another size': (
        lambda path, w: torch.save(dict(w, global_token=torch.ones(1, 9, 9)), path),
        r'global_token is \(1, 9, 9\), not \(1, 2, 8\)',
    ),
}


@pytest.fixture
def victim():
    return LightViT(NANO, init_cfg=dict(type='Pretrained', checkpoint=TINY))


def nano_authors_weights():
    """A classifier that fits the victim, under the authors' names."""
    model = LightViT(NANO, out_indices=(2,), out_type='raw')
    weights = {
        key.replace('norm2.', 'norm.') if key.startswith('norm2') else key: value + 1
        for key, value in model.state_dict().items()
    }
    for key in ('neck.0', 'neck.1', 'head'):
        weights.update({f'{key}.weight': torch.ones(1)})
        weights.update({f'{key}.bias': torch.ones(1)})
    return weights


def test_a_good_file_changes_everything(folder, victim):
    torch.save(nano_authors_weights(), folder / FILES['tiny'])
    before = snapshot(victim)
    load_checkpoint(victim, TINY)
    same = {
        key
        for key, value in victim.state_dict().items()
        if torch.equal(value, before[key])
    }
    assert same == {f'norm{i}.{name}' for i in (0, 1) for name in ('weight', 'bias')}


@pytest.mark.parametrize('name', BAD_FILES)
def test_a_bad_file_has_its_own_error_and_changes_nothing(folder, victim, name):
    make, message = BAD_FILES[name]
    make(folder / FILES['tiny'], nano_authors_weights())
    before = snapshot(victim)
    with pytest.raises(RuntimeError, match=f'(?s){message}'):
        load_checkpoint(victim, TINY)
    assert_same(victim.state_dict(), before)


def test_weights_of_another_size_change_nothing(folder):
    save_as(folder / FILES['tiny'], authors_weights('small'), 'model', '')
    model = LightViT('tiny', init_cfg=dict(type='Pretrained', checkpoint=TINY))
    before = snapshot(model)
    with pytest.raises(
        RuntimeError, match=r'global_token is \(1, 16, 96\), not \(1, 8, 64\)'
    ):
        model.init_weights()
    assert_same(model.state_dict(), before)


@pytest.mark.parametrize(
    'save',
    [
        lambda content, path: torch.save(content, path),
        lambda content, path: torch.save(
            content, path, _use_new_zipfile_serialization=False
        ),
        lambda content, path: path.write_bytes(pickle.dumps(content)),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
    ],
)
def test_code_is_refused_and_does_not_run(folder, tmp_path, victim, save):
    path = folder / FILES['tiny']
    marker = tmp_path / 'code-has-run'
    save(dict(model=dict(global_token=torch.ones(1)), args=Bomb(marker)), path)
    before = snapshot(victim)
    with pytest.raises(CheckpointError, match='(?s)refused|cannot be read'):
        load_checkpoint(victim, TINY)
    assert not marker.exists()
    assert_same(victim.state_dict(), before)


def test_the_unsafe_loader_would_run_this_code(tmp_path):
    path, marker = tmp_path / 'bomb', tmp_path / 'code-has-run'
    torch.save(dict(args=Bomb(marker)), path)
    with pytest.raises(CheckpointError, match=r'refused.*posix\.mkdir'):
        read_state_dict(path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        read_state_dict(tmp_path / 'nothing.pth')


def test_an_unknown_address_lists_the_known_ones():
    with pytest.raises(ValueError, match=f'huge.*{TINY}.*base-in1k'):
        load_checkpoint(LightViT(NANO), 'lightvit://huge-in1k')


def test_a_folder_without_the_file_is_named(folder):
    with pytest.raises(FileNotFoundError) as error:
        load_checkpoint(LightViT(NANO), TINY)
    assert str(folder / FILES['tiny']) in str(error.value)
    for source in RELEASED[TINY].sources:
        assert source in str(error.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's folder of downloads, empty."""
    monkeypatch.delenv('LIGHTVIT_CHECKPOINTS', raising=False)
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    return tmp_path / 'torch' / 'hub' / 'checkpoints'


SUMS_FILE = 'lightvit_tiny_78.7.ckpt.sums.json'


def kept(cache):
    return sorted(path.name for path in cache.iterdir() if path.suffix != '.lock')


def test_without_network_the_error_says_where_to_put_the_file(cache, monkeypatch):

    def fail(*args, **kwargs):
        raise URLError('Name or service not known')

    monkeypatch.setattr(downloads, 'download_url_to_file', fail)
    with pytest.raises(RuntimeError) as error:
        load_checkpoint(LightViT(NANO), TINY)
    for part in (
        'https://github.com/hunto/LightViT/releases/download/v0.0.1/'
        'lightvit_tiny_78.7.ckpt',
        'Name or service not known',
        f'put {FILES["tiny"]} into {cache}',
        'LIGHTVIT_CHECKPOINTS',
    ):
        assert part in str(error.value)
    assert kept(cache) == []


TINY_ID = parse_qs(urlsplit(RELEASED[TINY].sources[1]).query)['id'][0]


@pytest.fixture
def server(cache, monkeypatch):
    """Stands for both hosts. It has the file of tiny."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with hosts.serve() as server:
        for name, weights in RELEASED.items():
            sources = tuple(
                urlsplit(url)
                ._replace(scheme='http', netloc=urlsplit(server.url).netloc)
                .geturl()
                for url in weights.sources
            )
            monkeypatch.setitem(RELEASED, name, weights._replace(sources=sources))
        content = saved(as_trained(small_authors_weights()))
        server.files = {FILES['tiny']: content, TINY_ID: content}
        yield server


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def load_tiny(_=None):
    return checkpoints.load_published(TINY)['state_dict']


def test_a_download_is_kept(server, cache, capfd):
    expected = convert(small_authors_weights(), 'classifier')
    for _ in range(2):
        assert_same(load_tiny(), expected)
    name = FILES['tiny']
    release = f'/hunto/LightViT/releases/download/v0.0.1/{name}'
    assert server.requests == [release, f'/assets/{name}']
    assert kept(cache) == [name, SUMS_FILE]
    assert '100%' in capfd.readouterr().err


def test_a_broken_download_is_not_kept(server, cache):
    server.sent = 50_000
    with pytest.raises(RuntimeError, match='not be downloaded.*truncated'):
        load_tiny()
    assert kept(cache) == []
    server.sent = None
    assert 'backbone.global_token' in load_tiny()


DOWNLOAD_AND_DIE = """
import os, signal
from lightvit_mm import checkpoints, downloads

def die(url, path, **options):
    with open(path, 'wb') as file:
        file.write(b'half of the file')
    os.kill(os.getpid(), signal.SIGKILL)

downloads.download_url_to_file = die
checkpoints.load_published('lightvit://tiny-in1k')
"""


def test_what_a_killed_download_leaves_is_removed_by_the_next(server, cache):
    done = subprocess.run([sys.executable, '-c', DOWNLOAD_AND_DIE])
    assert done.returncode == -signal.SIGKILL
    assert len(kept(cache)) == 1 and FILES['tiny'] not in kept(cache)
    assert 'backbone.global_token' in load_tiny()
    assert kept(cache) == [FILES['tiny'], SUMS_FILE]


# The published detectors

DETECTOR = 'lightvit://tiny-mask-rcnn-1x-coco'


def test_every_published_file_has_its_own_name_and_addresses():
    files = [weights.file for weights in RELEASED.values()]
    sources = [source for weights in RELEASED.values() for source in weights.sources]
    assert len(RELEASED) == 9
    assert len(set(files)) == len(files) and len(set(sources)) == len(sources)


def drive_id(name):
    return parse_qs(urlsplit(RELEASED[name].sources[-1]).query)['id'][0]


def test_a_published_detector_is_loaded_strictly(server, cache):
    """In the layout that mmdet 2.x writes, with the names of the classes."""
    weights = mmdet_2_weights()
    meta = dict(CLASSES=('person', 'bicycle'), epoch=12, config='model = dict()')
    server.files[drive_id(DETECTOR)] = saved(dict(meta=meta, state_dict=weights))
    model = build_detector()
    checkpoint = load_checkpoint(model, DETECTOR, strict=True)
    loaded = model.state_dict()
    assert_same({key: loaded[key] for key in weights}, weights)
    assert checkpoint['meta']['CLASSES'] == ('person', 'bicycle')
    assert [request.partition('?')[0] for request in server.requests] == ['/download']
    stem = 'mask_rcnn_lightvit_tiny_fpn_1x_coco'
    assert kept(cache) == [f'{stem}.pth', f'{stem}.pth.sums.json']

    for path in cache.iterdir():
        path.unlink()
    del weights['neck.fpn_convs.0.conv.weight']
    server.files[drive_id(DETECTOR)] = saved(weights)
    with pytest.raises(RuntimeError, match=r'Missing: .*fpn_convs\.0\.conv\.weight'):
        load_checkpoint(model, DETECTOR, strict=True)


@pytest.mark.parametrize('name', [name for name in RELEASED if name.endswith('-coco')])
def test_each_detector_has_its_own_id(server, name):
    for other in RELEASED:
        value = torch.ones(1) if other == name else torch.zeros(1)
        weights = {'backbone.global_token': value, 'rpn_head.bias': torch.ones(1)}
        server.files[drive_id(other)] = saved(weights)
    weights = checkpoints.load_published(name)['state_dict']
    assert weights['backbone.global_token'] == 1


def test_the_number_of_tokens_of_a_detector_is_named(server):
    weights = {
        f'backbone.{key}': value for key, value in LightViT('tiny').state_dict().items()
    }
    weights['backbone.global_token'] = torch.ones(1, 512, 64)
    weights['rpn_head.rpn_cls.bias'] = torch.ones(3)
    server.files[drive_id(DETECTOR)] = saved(dict(state_dict=weights))
    with pytest.raises(
        RuntimeError,
        match='have 512 global tokens, but this LightViT has 8: '
        'set model.backbone.num_tokens=512',
    ):
        load_checkpoint(LightViT('tiny'), DETECTOR)
    model = LightViT('tiny', num_tokens=512)
    load_checkpoint(model, DETECTOR)
    assert torch.equal(model.global_token, torch.ones(1, 512, 64))


def test_google_drive_is_the_second_source(server, cache):
    del server.files[FILES['tiny']]
    assert 'backbone.global_token' in load_tiny()
    github, drive = server.requests
    assert '/releases/' in github and f'id={TINY_ID}' in drive
    assert kept(cache) == [FILES['tiny'], SUMS_FILE]


def test_an_exceeded_quota_is_explained(server, cache):
    server.files[drive_id(DETECTOR)] = b'never sent'
    server.is_over_quota = True
    with pytest.raises(CheckpointError) as error:
        checkpoints.load_published(DETECTOR)
    file = 'mask_rcnn_lightvit_tiny_fpn_1x_coco.pth'
    assert 'quota exceeded' in str(error.value)
    assert f'put {file} into {cache}, or into any folder and set' in str(error.value)
    assert '\n' not in str(error.value) and kept(cache) == []
    # The advice helps.
    weights = {'backbone.global_token': torch.ones(1), 'rpn_head.bias': torch.ones(1)}
    torch.save(weights, cache / file)
    assert_same(checkpoints.load_published(DETECTOR)['state_dict'], weights)


def test_a_page_that_asks_for_confirmation_is_no_file(server, cache, monkeypatch):
    """Google Drive's, should it ever ignore the confirmation in the address."""
    weights = RELEASED[DETECTOR]
    sources = (weights.sources[0].replace('confirm=t&', ''),)
    monkeypatch.setitem(RELEASED, DETECTOR, weights._replace(sources=sources))
    server.files[drive_id(DETECTOR)] = b'never sent'
    with pytest.raises(CheckpointError, match='web page .* Virus scan warning'):
        checkpoints.load_published(DETECTOR)
    assert kept(cache) == []


def test_known_sums_are_checked_in_the_folder(folder, monkeypatch):
    path = folder / FILES['tiny']
    torch.save(small_authors_weights(), path)
    monkeypatch.setitem(KNOWN_SUMS, path.name, downloads.sums_of(path))
    load_tiny()
    path.write_bytes(saved(small_authors_weights() | {'head.bias': torch.ones(1, 2)}))
    with pytest.raises(CheckpointError, match='different file'):
        load_tiny()


def test_stored_sums_are_checked_in_the_folder(server, cache, monkeypatch):
    load_tiny()
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(cache))
    load_tiny()
    changed = small_authors_weights() | {'head.bias': torch.ones(1, 2)}
    (cache / FILES['tiny']).write_bytes(saved(changed))
    with pytest.raises(
        CheckpointError, match=rf'different file.*\. Delete {cache / SUMS_FILE} if'
    ):
        load_tiny()
    (cache / SUMS_FILE).unlink()
    assert torch.equal(load_tiny()['head.fc.bias'], torch.ones(1, 2))


def test_broken_sums_do_not_stop_a_load(server, cache, log):
    load_tiny()
    (cache / SUMS_FILE).write_text('')
    assert 'backbone.global_token' in load_tiny()
    assert len(server.requests) == 2 and SUMS_FILE in log.text


def test_one_of_many_processes_downloads(server):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(load_tiny, range(4)))
    assert len(results) == 4 and len(server.requests) == 2  # with the redirection


def test_a_write_follows_no_link(tmp_path):
    (tmp_path / 'victim').write_text('kept')
    (tmp_path / 'file.pth').symlink_to('victim')
    save_state_dict(dict(x=torch.ones(1)), tmp_path / 'file.pth', {})
    assert (tmp_path / 'victim').read_text() == 'kept'
    assert read_state_dict(tmp_path / 'file.pth')['x'] == 1


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'out.pth'
    path.write_text('old')
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_state_dict(dict(), path, dict(cannot_be_pickled=lambda: 0))
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def run_tool(*args):
    return subprocess.run(
        [sys.executable, ROOT / 'tools/convert_checkpoint.py', *args],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )


def test_the_tool_converts_there_and_back(tmp_path):
    weights = small_authors_weights()
    save_as(tmp_path / 'a.ckpt', weights, 'model', 'module.')
    ours, back = tmp_path / 'ours.pth', tmp_path / 'back.pth'
    run = run_tool(tmp_path / 'a.ckpt', ours, '--to', 'classifier')
    assert run.returncode == 0, run.stderr
    assert "the authors' classifier, 415 tensors" in run.stdout
    assert "mmpretrain's classifier, 415 tensors" in run.stdout
    checkpoint = torch.load(ours, weights_only=True)
    assert_same(checkpoint['state_dict'], convert(weights, 'classifier'))
    assert isinstance(checkpoint['meta'], dict)

    run = run_tool(ours, back, '--to', 'authors')
    assert run.returncode == 0, run.stderr
    assert_same(torch.load(back, weights_only=True)['state_dict'], weights)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_tool_refuses_in_one_line_and_writes_nothing(tmp_path):
    path = tmp_path / 'a.ckpt'
    path.write_text('weights')
    run = run_tool(path, tmp_path / 'out.pth', '--to', 'backbone')
    assert run.returncode == 1
    assert f'{path} is not a PyTorch checkpoint' in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_the_tool_never_overwrites_its_input(tmp_path, monkeypatch):
    path, link = tmp_path / 'a.ckpt', tmp_path / 'link.ckpt'
    torch.save(small_authors_weights(), path)
    link.symlink_to(path)
    before = path.read_bytes()
    tool = str(ROOT / 'tools/convert_checkpoint.py')
    monkeypatch.setattr(sys, 'argv', [tool, str(path), str(link), '--to', 'backbone'])
    with pytest.raises(SystemExit, match='is the input itself'):
        runpy.run_path(tool, run_name='__main__')
    assert path.read_bytes() == before and link.is_symlink()
