"""The ImageNet recipe; models and configs by name."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import save_checkpoint
from PIL import Image
from torchvision import transforms

import lightvit_mm
from lightvit_mm.checkpoints import convert
from lightvit_mm.weights import RELEASED

mmpretrain = pytest.importorskip('mmpretrain')
from mmpretrain import (  # noqa: E402
    FeatureExtractor,
    ImageClassificationInferencer,
    get_model,
    inference_model,
    list_models,
)
from mmpretrain.structures import DataSample  # noqa: E402

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
ARCHS = dict(t='tiny', s='small', b='base')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def load(size):
    return Config.fromfile(CONFIGS / f'lightvit_{size}_8xb128_in1k.py')


@pytest.fixture(scope='module')
def image():
    rng = np.random.RandomState(0)
    coarse = rng.randint(0, 256, (12, 17, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((401, 283)))


@pytest.fixture(scope='module')
def image_path(image, tmp_path_factory):
    path = tmp_path_factory.mktemp('images') / 'image.png'
    Image.fromarray(image).save(path)
    return str(path)


# The recipe


@pytest.mark.parametrize('size', 'tsb')
def test_config_is_the_published_recipe(size):
    """The paper's Table 2 and the settings of the released code."""
    cfg = load(size)
    assert cfg.model.backbone.arch == ARCHS[size]
    assert cfg.model.backbone.drop_path_rate == dict(t=0.1, s=0.1, b=0.3)[size]

    assert cfg.train_dataloader.batch_size == 128
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8 * 128)
    assert cfg.train_cfg.max_epochs == 300
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        1e-3,
        0.04,
    )
    assert 'clip_grad' not in cfg.optim_wrapper
    assert 'custom_hooks' not in cfg  # no EMA
    assert (cfg.optim_wrapper.get('type') == 'AmpOptimWrapper') == (size == 'b')

    transforms = {t.type: t for t in cfg.train_dataloader.dataset.pipeline}
    assert list(transforms) == [
        'LoadImageFromFile',
        'RandomResizedCrop',
        'RandomFlip',
        'RandAugment',
        'RandomErasing',
        'PackInputs',
    ]
    crop = transforms['RandomResizedCrop']
    assert (crop.scale, crop.interpolation) == (224, 'bicubic')
    augment = transforms['RandAugment']
    assert (
        augment.num_policies,
        augment.magnitude_level,
        augment.total_level,
        augment.magnitude_std,
    ) == (2, 9, 10, 0.5)
    erasing = transforms['RandomErasing']
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')


@pytest.mark.parametrize('size', 'tsb')
def test_decay_groups_are_the_authors(size):
    """No decay on 1-d parameters, biases, position biases, global tokens."""
    cfg = load(size)
    model = MODELS.build(cfg.model)
    # Mixed precision needs a GPU.
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = {0.0: set(), 0.04: set()}
    for group in optimizer.param_groups:
        assert group['lr'] == 1e-3
        for parameter in group['params']:
            groups[group['weight_decay']].add(names.pop(parameter))
    assert not names

    no_decay = {
        name
        for name, parameter in model.named_parameters()
        if len(parameter.shape) == 1
        or name.endswith('.bias')
        or 'relative_position_bias_table' in name
        or 'global_token' in name
    }
    assert groups[0.0] == no_decay
    # Exactly the convolutions and the linear layers.
    assert groups[0.04] == {
        f'{name}.weight'
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    }


@pytest.mark.parametrize('size', 'tsb')
def test_learning_rate_at_every_iteration(size):
    cfg = load(size)
    per_epoch = 3
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=per_epoch)
        )
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(300 * per_epoch):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()

    warm_up = np.linspace(1e-7, 1e-3, 20 * per_epoch)
    done = np.arange(280 * per_epoch) / (280 * per_epoch)
    cosine = 1e-6 + (1e-3 - 1e-6) * (1 + np.cos(math.pi * done)) / 2
    np.testing.assert_allclose(rates, np.concatenate([warm_up, cosine]), rtol=1e-6)


def test_training_pipeline_runs(image_path):
    pipeline = Compose(load('t').train_dataloader.dataset.pipeline)
    for _ in range(20):
        result = pipeline(dict(img_path=image_path, gt_label=3))
        assert result['inputs'].shape == (3, 224, 224)
        assert result['inputs'].dtype == torch.uint8
        assert result['data_samples'].gt_label.item() == 3


def test_erased_pixels_differ_from_each_other():
    erasing = dict(load('t').train_dataloader.dataset.pipeline[4])
    erasing['erase_prob'] = 1.0
    grey = np.full((224, 224, 3), 77, np.uint8)
    erased = Compose([erasing])(dict(img=grey.copy()))['img']
    # Noise that rounds to the background's colour looks like background.
    pixels = erased[(erased != grey).any(-1)]
    assert len(np.unique(pixels, axis=0)) > 0.9 * len(pixels) > 500


def published_test_image(image):
    """(224, 224, 3), made with torchvision as in the released code."""
    return np.asarray(
        transforms.Compose(
            [
                transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(224),
            ]
        )(Image.fromarray(image))
    )


def test_test_pipeline_is_the_published_one(image, image_path):
    pipeline = Compose(load('t').test_dataloader.dataset.pipeline)
    result = pipeline(dict(img_path=image_path))
    rgb = result['inputs'].numpy()[::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(rgb, published_test_image(image))


@pytest.fixture(scope='module')
def classifier():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        return get_model('lightvit-tiny_8xb128_in1k')


def test_batches_are_mixed_and_labels_stay_a_distribution(classifier):
    images = torch.stack([torch.full((3, 32, 32), 50.0 * i) for i in range(4)])
    kinds = []
    for _ in range(60):
        batch = classifier.data_preprocessor(
            dict(
                inputs=images.clone(),
                data_samples=[DataSample().set_gt_label(7 * i) for i in range(4)],
            ),
            training=True,
        )
        inputs = batch['inputs']
        scores = torch.stack([s.gt_score for s in batch['data_samples']])
        assert scores.shape == (4, 1000)
        torch.testing.assert_close(scores.sum(dim=1), torch.ones(4))
        # Each image is constant. Mixup keeps it constant; a cut does not. After a
        # cut, the share of its own label is the share of its own pixels.
        own = classifier.data_preprocessor(dict(inputs=images.clone()))
        own = (inputs == own['inputs']).float().mean(dim=(1, 2, 3))
        shares = scores[range(4), [0, 7, 14, 21]]
        constant = inputs.flatten(2).std(dim=2).amax(dim=1) < 1e-4
        cut = bool((~constant).any())
        if cut:
            torch.testing.assert_close(shares, own)
        kinds.append('CutMix' if cut else 'Mixup')
    # Each is drawn half of the time. A cut that does not show counts as mixup.
    assert 20 <= kinds.count('CutMix') <= 40
    augments = {
        type(augment).__name__: augment.alpha
        for augment in classifier.data_preprocessor.batch_augments.augments
    }
    assert augments == dict(Mixup=0.2, CutMix=1.0)
    assert classifier.data_preprocessor.batch_augments.probs is None


def test_loss_is_cross_entropy_to_smoothed_labels(classifier):
    scores = torch.zeros(2, 1000)
    scores[0, 3] = 1
    scores[1, 5], scores[1, 900] = 0.3, 0.7
    images = torch.randn(2, 3, 64, 64)
    samples = [DataSample().set_gt_score(score) for score in scores]
    with torch.no_grad():
        loss = classifier(images, samples, mode='loss')['loss']
        logits = classifier(images)
    expected = F.cross_entropy(logits, 0.9 * scores + 0.1 / 1000)
    torch.testing.assert_close(loss, expected)


# Models by name

NAMES = [f'lightvit-{arch}_8xb128_in1k' for arch in ('base', 'small', 'tiny')]
METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())


def run_python(code, cwd=ROOT, path=ROOT):
    """The last line that the code prints in a new interpreter."""
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        env={'PYTHONPATH': str(path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    'modules, loaded',
    [
        ('lightvit_mm', False),
        ('mmpretrain, lightvit_mm', True),
    ],
)
def test_order_of_imports_does_not_matter(modules, loaded, tmp_path):
    code = (
        f'import sys, {modules}\n'
        "loaded = 'mmpretrain' in sys.modules\n"
        'from mmpretrain import get_model, list_models\n'
        "model = get_model('lightvit-tiny_8xb128_in1k')\n"
        "print(loaded, list_models('lightvit*'), "
        'type(model.backbone).__module__)'
    )
    assert run_python(code, cwd=tmp_path) == (
        f'{loaded} {NAMES} lightvit_mm.models.lightvit'
    )


def test_installing_twice_registers_once():
    lightvit_mm.compat.install()
    assert list_models('lightvit*') == NAMES


@pytest.mark.parametrize(
    'entry',
    [entry for entry in METAFILE['Models'] if entry['Name'] in NAMES],
    ids=lambda entry: entry['Name'],
)
def test_every_name_builds_a_model_of_its_size(entry):
    model = get_model(entry['Name'])
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == entry['Metadata']['Parameters']
    assert model._metainfo.weights == entry['Weights']


def test_a_config_loads_its_published_weights(tmp_path, monkeypatch):
    """By the name that the other libraries' inferencers take, too."""
    model = get_model('lightvit_mm::lightvit_t_8xb128_in1k.py')
    weights = convert(model.state_dict(), 'authors')
    torch.save(weights, tmp_path / RELEASED['lightvit://tiny-in1k'].file)
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(tmp_path))
    inferencer = ImageClassificationInferencer(
        'lightvit_mm::lightvit_t_8xb128_in1k.py', device='cpu'
    )
    loaded = convert(inferencer.model.state_dict(), 'authors')
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    assert len(inferencer.classes) == 1000
    with pytest.raises(FileNotFoundError, match='close to it: .*lightvit_t_8xb128'):
        get_model('lightvit_mm::lightvit_t_8xb12_in1k.py')


def test_a_config_without_a_model_is_named():
    name = 'lightvit_mm::_base_/lightvit_classifier.py'
    with pytest.raises(ValueError, match=f'{name} is not the config of a model: give'):
        get_model(name)


def test_inferencer_gives_the_models_scores(classifier, image, image_path, tmp_path):
    path = str(tmp_path / 'weights.pth')
    save_checkpoint(dict(state_dict=classifier.state_dict()), path)
    inferencer = ImageClassificationInferencer(
        'lightvit-tiny_8xb128_in1k', pretrained=path, device='cpu'
    )
    (result,) = inferencer(image_path, show=False)

    rgb = published_test_image(image)
    rgb = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        logits = classifier(torch.from_numpy(rgb).permute(2, 0, 1)[None].float())
    scores = logits.softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(result['pred_scores'], scores, rtol=1e-5)
    assert result['pred_label'] == scores.argmax()
    assert len(inferencer.classes) == 1000
    again = inference_model(classifier, image_path, show=False)
    np.testing.assert_allclose(again['pred_scores'], scores, rtol=1e-5)


def test_feature_extractor(classifier, image_path):
    extractor = FeatureExtractor(classifier)
    stages = dict(backbone=(8 + 7 * 7, 256), neck=(1280,), pre_logits=(1280,))
    features = {stage: extractor(image_path, stage=stage)[0] for stage in stages}
    for stage, shape in stages.items():
        feature = features[stage]
        if stage != 'pre_logits':
            (feature,) = feature
        assert feature.shape == shape
    with torch.no_grad():
        pooled = classifier.neck((features['backbone'][0][None],))[0][0]
    torch.testing.assert_close(features['neck'][0], pooled)
    torch.testing.assert_close(features['pre_logits'], pooled)


def test_maps_go_with_mmpretrains_own_neck():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='lightvit_mm.LightViT', arch='tiny', out_indices=(2,)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=256),
        )
    )
    model.eval()
    images = torch.randn(2, 3, 70, 90)
    (maps,) = model.backbone(images)
    expected = model.head.fc(maps.mean(dim=(2, 3)))
    torch.testing.assert_close(model(images), expected)
    losses = model.train()(
        images, [DataSample().set_gt_label(i) for i in (0, 4)], mode='loss'
    )
    losses['loss'].backward()
    assert model.backbone.global_token.grad.any()


# Configs by name


@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn_lightvit_s_1x.py',
        'mask_rcnn_lightvit_t_3x.py',
        'lightvit_b_8xb128_in1k.py',
        '_base_/mask_rcnn_lightvit.py',
    ],
)
def test_another_repository_inherits_a_config(name, tmp_path):
    path = tmp_path / 'configs/mine.py'
    path.parent.mkdir()
    path.write_text(
        f"_base_ = ['lightvit_mm::{name}']\nmodel = dict(backbone=dict(num_tokens=5))\n"
    )
    cfg = Config.fromfile(path)
    expected = Config.fromfile(CONFIGS / name)
    expected.model.backbone.num_tokens = 5
    assert cfg.to_dict() == expected.to_dict()
    if 'default_scope' in cfg:
        pytest.importorskip(cfg.default_scope)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        assert model.backbone.num_tokens == 5


def test_other_packages_are_left_alone(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'")
    cfg = Config.fromfile(path)
    expected = get_config('mmpretrain::resnet/resnet18_8xb32_in1k.py')
    assert cfg.model.pop('_scope_') == 'mmpretrain'
    assert cfg.model == expected.model


def test_missing_config_is_an_error(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'lightvit_mm::lightvit_x.py'")
    with pytest.raises(FileNotFoundError, match='lightvit_x.py'):
        Config.fromfile(path)


def test_mmdets_inferencer_takes_a_config(image, tmp_path):
    pytest.importorskip('mmdet')
    from mmdet.apis import DetInferencer, inference_detector

    path = tmp_path / 'small.py'
    path.write_text("""
_base_ = 'lightvit_mm::mask_rcnn_lightvit_t_1x.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 96)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
model = dict(test_cfg=dict(rcnn=dict(score_thr=0.)))
""")
    with DefaultScope.overwrite_default_scope('mmdet'):
        inferencer = DetInferencer(str(path), device='cpu')
        (result,) = inferencer(image)['predictions']
        expected = inference_detector(inferencer.model, image).pred_instances
    assert type(inferencer.model.backbone).__name__ == 'LightViT'
    assert len(result['scores']) == len(expected) > 0
    np.testing.assert_allclose(result['scores'], expected.scores, rtol=1e-4)
