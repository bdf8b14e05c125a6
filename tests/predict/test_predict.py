"""tools/predict.py against the libraries' plain models."""

import json
import runpy
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint, save_checkpoint

from lightvit_mm import checkpoints
from lightvit_mm.config import read_config
from lightvit_mm.predict.tasks import label_place
from lightvit_mm.trained import build_model

from .. import small

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')
mask_api = pytest.importorskip('pycocotools.mask')
COCO = pytest.importorskip('pycocotools.coco').COCO

TOOL = str(Path(__file__).parents[2] / 'tools/predict.py')

FRUITS = ('apple', 'banana', 'cherry', 'date', 'elder', 'fig', 'grape')
CROP = (dict(type='ResizeEdge', scale=64), dict(type='CenterCrop', crop_size=64))


def classifier(num_classes=7, **settings):
    cfg = small.classifier(steps=CROP, num_classes=num_classes)
    cfg.merge_from_dict(settings)
    return cfg


def detector():
    return small.detector(num_classes=7)


def segmentor():
    return small.segmentor(num_classes=7)


def save(cfg, folder, **meta):
    """Write a config and random weights."""
    model = small.build(cfg)
    cfg.dump(folder / 'config.py')
    save_checkpoint(
        dict(meta=meta, state_dict=model.state_dict()), str(folder / 'model.pth')
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with config.py and model.pth for each task."""
    folders = {}
    for make in (classifier, detector, segmentor):
        folder = tmp_path_factory.mktemp(make.__name__)
        save(make(), folder, dataset_meta=dict(classes=FRUITS))
        folders[make.__name__] = folder
    return folders


@pytest.fixture
def predict(trained, tmp_path, monkeypatch):
    """Run the tool in tmp_path and read what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(kind, source, *options):
        folder = trained.get(kind, kind)
        args = (
            folder / 'config.py',
            folder / 'model.pth',
            source,
            '--out',
            'out',
            *options,
        )
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')
        return json.loads(Path('out/predictions.json').read_text())

    return run


@pytest.fixture
def photos(tmp_path):
    """Three pictures, two of the same name."""
    random = np.random.RandomState(0)
    for name, size in {
        'photos/wide.JPG': (150, 83),
        'photos/a/one.png': (70, 130),
        'photos/b/one.png': (91, 90),
    }.items():
        coarse = random.randint(0, 256, (9, 9, 3), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
    return tmp_path / 'photos'


NAMES = ['a/one.png', 'b/one.png', 'wide.JPG']


def plain(folder, path):
    """What the library's model itself says of an image file."""
    cfg = Config.fromfile(folder / 'config.py')
    settings = cfg.model.copy()
    if 'data_preprocessor' in cfg:
        settings.data_preprocessor = cfg.data_preprocessor
    steps = [
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if step.type != 'LoadAnnotations'
    ]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(settings).eval()
        pipeline = Compose(steps)
    load_checkpoint(model, str(folder / 'model.pth'))
    collate = default_collate if cfg.default_scope == 'mmpretrain' else pseudo_collate
    with torch.no_grad():
        batch = collate([pipeline(dict(img_path=str(path), img_id=0))])
        return model.test_step(batch)[0]


def assert_pictures(photos, least_side=1):
    """One for each image, of its size or enlarged, with something drawn."""
    folder = Path('out/pictures')
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    )
    assert found == NAMES
    for name in NAMES:
        image = cv2.imread(str(photos / name))
        h, w = image.shape[:2]
        side = max(least_side, min(h, w))
        size = w * side // min(h, w), h * side // min(h, w)
        image = cv2.resize(image, size).astype(int)
        picture = cv2.imread(str(folder / name)).astype(int)
        assert picture.shape == image.shape
        changed = np.abs(picture - image).max(axis=2) > 30
        assert 0.01 < changed.mean() < 1


def assert_described(content, photos):
    """Images, categories and ids are as documented, and COCO reads them."""
    assert [image['file_name'] for image in content['images']] == NAMES
    for number, image in enumerate(content['images'], 1):
        h, w = cv2.imread(str(photos / image['file_name'])).shape[:2]
        assert (image['id'], image['width'], image['height']) == (number, w, h)
    assert content['categories'] == [
        dict(id=i, name=name) for i, name in enumerate(FRUITS)
    ]
    ids = [annotation['id'] for annotation in content['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    coco = COCO('out/predictions.json')
    assert sorted(coco.anns) == ids
    assert coco.loadImgs(2)[0]['file_name'] == 'b/one.png'


def of_image(content, number):
    return [a for a in content['annotations'] if a['image_id'] == number]


def test_detector(trained, predict, photos):
    samples = [
        plain(trained['detector'], photos / name).pred_instances for name in NAMES
    ]
    scores = torch.cat([sample.scores for sample in samples])
    thr = scores.median().item()
    content = predict('detector', 'photos', '--score-thr', thr)
    assert_pictures(photos)
    assert_described(content, photos)
    for number, sample in enumerate(samples, 1):
        sample = sample[sample.scores > thr].numpy()
        found = of_image(content, number)
        assert len(found) == len(sample) > 0
        for i, annotation in enumerate(found):
            assert annotation['category_id'] == sample.labels[i]
            assert annotation['score'] == pytest.approx(sample.scores[i])
            x, y, w, h = annotation['bbox']
            np.testing.assert_allclose(
                (x, y, x + w, y + h), sample.bboxes[i], atol=1e-3
            )
            rle = annotation['segmentation']
            assert isinstance(rle['counts'], str)
            mask = mask_api.decode(rle)
            assert (mask == sample.masks[i]).all()
            assert annotation['area'] == mask.sum()
    coco = COCO('out/predictions.json')
    results = coco.loadRes(content['annotations'])
    assert len(results.anns) == (scores > thr).sum()
    assert results.annToMask(results.anns[1]).any()


def test_detector_that_finds_nothing(predict):
    image = np.full((50, 70, 3), (20, 90, 200), np.uint8)
    cv2.imwrite('plain.png', image)
    content = predict('detector', 'plain.png', '--score-thr', 1)
    assert content['annotations'] == []
    assert [image['file_name'] for image in content['images']] == ['plain.png']
    assert np.array_equal(cv2.imread('out/pictures/plain.png'), image)


def test_detector_without_masks(trained, predict, photos, tmp_path):
    cfg = detector()
    for key in ('mask_head', 'mask_roi_extractor'):
        cfg.model.roi_head[key] = None
    save(cfg, tmp_path, dataset_meta=dict(classes=FRUITS))
    content = predict(tmp_path, 'photos/wide.JPG', '--score-thr', 0.1)
    sample = plain(tmp_path, photos / 'wide.JPG').pred_instances
    assert len(content['annotations']) == len(sample) > 0
    for annotation in content['annotations']:
        assert 'segmentation' not in annotation
        _, _, w, h = annotation['bbox']
        assert annotation['area'] == pytest.approx(w * h)


def test_segmentor(trained, predict, photos):
    content = predict('segmentor', 'photos')
    assert_pictures(photos)
    assert_described(content, photos)
    for number, name in enumerate(NAMES, 1):
        expected = plain(trained['segmentor'], photos / name)
        expected = expected.pred_sem_seg.data[0].numpy()
        mask = cv2.imread(f'out/masks/{name}.png', cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8 and np.array_equal(mask, expected)
        found = of_image(content, number)
        classes = [annotation['category_id'] for annotation in found]
        assert classes == np.unique(expected).tolist() and len(classes) > 1
        for annotation in found:
            where = mask_api.decode(annotation['segmentation'])
            assert (where == (expected == annotation['category_id'])).all()
            assert annotation['area'] == where.sum()
            x, y, w, h = map(int, annotation['bbox'])
            assert where[y : y + h, x : x + w].sum() == where.sum()
            assert where[y].any() and where[:, x].any()


def test_names_of_classes_are_where_mmseg_puts_them():
    from mmseg.visualization import SegLocalVisualizer

    visualizer = SegLocalVisualizer()
    random = np.random.RandomState(0)
    for share in (0.01, 0.3, 0.9):
        mask = (random.rand(40, 50) < share).astype(np.uint8)
        place = visualizer._get_center_loc(mask)
        assert np.array_equal(label_place(mask), place)


def test_classifier(trained, predict, photos):
    content = predict('classifier', 'photos')
    assert_pictures(photos, least_side=224)
    assert_described(content, photos)
    for number, name in enumerate(NAMES, 1):
        scores = plain(trained['classifier'], photos / name).pred_score
        best = sorted(range(7), key=lambda i: -scores[i])[:5]
        found = of_image(content, number)
        assert [annotation['category_id'] for annotation in found] == best
        np.testing.assert_allclose([a['score'] for a in found], scores[best], atol=1e-6)


@pytest.mark.parametrize('names', [('cat', 'dog', 'eel'), None])
def test_classes_are_fewer_than_five_or_have_no_names(predict, photos, tmp_path, names):
    meta = dict(dataset_meta=dict(classes=names)) if names else {}
    save(classifier(3), tmp_path, **meta)
    content = predict(tmp_path, 'photos/wide.JPG')
    assert len(content['annotations']) == 3
    assert [category['name'] for category in content['categories']] == list(
        names or '012'
    )


@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
@pytest.mark.parametrize('kind', ['classifier', 'segmentor'])
def test_video(trained, predict, tmp_path, kind, suffix):
    path = tmp_path / f'clip{suffix}'
    codec = dict(zip(('.avi', '.mp4'), ('MJPG', 'mp4v')))[suffix]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 12.5, (320, 240))
    random = np.random.RandomState(0)
    for _ in range(3):
        coarse = random.randint(0, 256, (4, 6, 3), np.uint8)
        video.write(cv2.resize(coarse, (320, 240)))
    video.release()
    content = predict(kind, path)

    drawn = cv2.VideoCapture(f'out/pictures/{path.name}')
    assert drawn.get(cv2.CAP_PROP_FPS) == 12.5
    video = cv2.VideoCapture(str(path))
    assert [image['file_name'] for image in content['images']] == [
        f'{path.name}/00000{i}' for i in range(3)
    ]
    for number in range(1, 4):
        frame, picture = video.read()[1], drawn.read()[1]
        assert picture.shape == frame.shape == (240, 320, 3)
        assert np.abs(picture.astype(int) - frame).mean() > 3
        cv2.imwrite('frame.png', frame)
        expected = plain(trained[kind], 'frame.png')
        found = of_image(content, number)
        if kind == 'classifier':
            assert found[0]['category_id'] == expected.pred_score.argmax()
            assert found[0]['score'] == pytest.approx(expected.pred_score.max().item())
        else:
            for annotation in found:
                where = expected.pred_sem_seg.data[0].numpy()
                where = where == annotation['category_id']
                assert (mask_api.decode(annotation['segmentation']) == where).all()
    assert not drawn.read()[0]


def test_own_data_need_not_be_there(predict, photos, tmp_path):
    cfg = classifier(
        num_classes=3, runner_type='lightvit_mm.ClassFolderRunner', data_root='gone'
    )
    save(cfg, tmp_path, dataset_meta=dict(classes=FRUITS[:3]))
    cfg.model.head.num_classes = 1000
    cfg.dump(tmp_path / 'config.py')
    content = predict(tmp_path, 'photos')
    names = [category['name'] for category in content['categories']]
    assert names == list(FRUITS[:3])

    save(classifier(3), tmp_path)
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match='no class folder in gone/train'):
        predict(tmp_path, 'photos')
    for split in ('train', 'val'):
        for name in 'xyz':
            (tmp_path / 'gone' / split / name).mkdir(parents=True)
    assert len(predict(tmp_path, 'photos')['categories']) == 3


def test_published_classifier(predict, photos, tmp_path, monkeypatch):
    cfg = read_config('lightvit_mm::lightvit_t_8xb128_in1k.py')
    weights = checkpoints.convert(build_model(cfg).state_dict(), 'authors')
    released = Path(checkpoints.RELEASED['lightvit://tiny-in1k']).name
    torch.save(weights, tmp_path / released)
    monkeypatch.setenv(checkpoints.FOLDER_VARIABLE, str(tmp_path))
    argv = [
        TOOL,
        'lightvit_mm::lightvit_t_8xb128_in1k.py',
        'lightvit://tiny-in1k',
        'photos/wide.JPG',
    ]
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(TOOL, run_name='__main__')
    written = Path('work_dirs/predict/predictions.json')
    content = json.loads(written.read_text())
    assert content['categories'][1]['name'].startswith('goldfish')
    assert len(content['annotations']) == 5


def test_images_are_not_held_in_memory(predict, photos, monkeypatch):
    images, alive = [], []
    imread = cv2.imread

    def watch(path):
        image = imread(path)
        alive.append(sum(image() is not None for image in images))
        images.append(weakref.ref(image))
        return image

    for i in range(6):
        cv2.imwrite(f'photos/{i}.png', np.zeros((40, 40, 3), np.uint8))
    monkeypatch.setattr(cv2, 'imread', watch)
    predict('classifier', 'photos')
    assert len(alive) == 9 and max(alive) <= 1


def test_results_among_the_images_are_left_out(predict, photos):
    predict('classifier', '.')
    content = predict('classifier', '.')
    assert [image['file_name'] for image in content['images']] == [
        f'photos/{name}' for name in NAMES
    ]


@pytest.mark.parametrize(
    'source, options, message',
    [
        ('nothing', [], 'There is no nothing: expected an image, a folder'),
        ('empty', [], r'no image in empty .* end in \.bmp, \.jpeg, \.jpg, \.png'),
        ('text.txt', [], r'text.txt should be a folder, an image \(\.bmp.*video'),
        ('text.jpg', [], 'text.jpg: not an image, or damaged'),
        ('text.mp4', [], 'video text.mp4 cannot be opened'),
        ('photos', ['--out', 'photos'], 'photos lies in photos, where results'),
        ('photos', ['--out', 'text.txt'], 'text.txt .* cannot be made'),
        ('photos', ['--score-thr', '30'], r'score_thr=30.0 should be in 0 to 1'),
        ('photos', ['--cfg-options', 'default_scope=None'], 'default_scope=None'),
        ('photos', ['--cfg-options', 'test_dataloader=None'], 'no test_dataload'),
        (
            'photos',
            ['--cfg-options', 'model.head.num_classes=5'],
            'checkpoint .*model.pth cannot be used.*size mismatch.*head.fc.weight',
        ),
    ],
)
def test_misuse(predict, photos, capfd, source, options, message):
    Path('empty').mkdir()
    for suffix in ('txt', 'jpg', 'mp4'):
        Path(f'text.{suffix}').write_text('text')
    with pytest.raises(SystemExit, match=message):
        predict('classifier', source, *options)
    assert not list(Path().rglob('*.json')) and not Path('out').exists()


@pytest.mark.parametrize(
    'meta, message',
    [
        (dict(CLASSES=FRUITS[:2]), '2 class names for 7 classes'),
        (None, r'checkpoint .*model.pth cannot be used; .*: \S'),
    ],
)
def test_checkpoint_that_does_not_fit(predict, photos, tmp_path, meta, message):
    save(classifier(), tmp_path, **(meta or {}))
    if meta is None:
        (tmp_path / 'model.pth').write_bytes(b'')
    with pytest.raises(SystemExit, match=message):
        predict(tmp_path, 'photos')


@pytest.mark.parametrize('name', ['b/one.png', 'wide.JPG'])
def test_damaged_image_leaves_no_json(predict, photos, name):
    predict('classifier', 'photos')
    content = (photos / name).read_bytes()
    (photos / name).write_bytes(content[: -len(content) // 2])
    with pytest.raises(SystemExit, match=f'image photos/{name} is damaged'):
        predict('classifier', 'photos')
    assert cv2.imread('out/pictures/a/one.png').shape == (416, 224, 3)
    left = [path.name for path in Path('out').rglob('*') if path.is_file()]
    assert sorted(left) == ['one.png', 'one.png', 'wide.JPG']
