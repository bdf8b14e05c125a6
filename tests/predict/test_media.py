"""Images and videos that are read and drawn."""

import json
import os
import struct
import weakref
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm import untrusted
from lightvit_mm.predict import media, tasks

from .models import (
    FRUITS,
    NAMES,
    classifier,
    detector,
    of_image,
    plain,
    save,
    segmentor,
)

mask_api = pytest.importorskip('pycocotools.mask')


@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
@pytest.mark.parametrize('kind', ['classifier', 'segmentor'])
def test_a_video_is_drawn_frame_by_frame(trained, predict, tmp_path, kind, suffix):
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


def test_one_image_is_held_in_memory(predict, photos, monkeypatch):
    images, alive = [], []
    imdecode = cv2.imdecode

    def watch(*args):
        image = imdecode(*args)
        alive.append(sum(image() is not None for image in images))
        images.append(weakref.ref(image))
        return image

    for i in range(6):
        cv2.imwrite(f'photos/{i}.png', np.zeros((40, 40, 3), np.uint8))
    monkeypatch.setattr(cv2, 'imdecode', watch)
    predict('classifier', 'photos')
    assert len(alive) == 9 and max(alive) <= 1


def test_results_among_the_images_are_skipped(predict, photos):
    predict('classifier', '.')
    content = predict('classifier', '.')
    assert [image['file_name'] for image in content['images']] == [
        f'photos/{name}' for name in NAMES
    ]


@pytest.mark.parametrize('name', ['b/one.png', 'wide.JPG'])
def test_a_damaged_image_leaves_no_json(predict, photos, name):
    predict('classifier', 'photos')
    content = (photos / name).read_bytes()
    (photos / name).write_bytes(content[: -len(content) // 2])
    with pytest.raises(SystemExit, match=f'image photos/{name} is damaged'):
        predict('classifier', 'photos')
    assert cv2.imread('out/pictures/a/one.png').shape == (416, 224, 3)
    left = [path.name for path in Path('out').rglob('*') if path.is_file()]
    assert sorted(left) == ['one.png', 'one.png', 'wide.JPG']


def test_an_interrupted_video_leaves_no_file(tmp_path):
    path = tmp_path / 'clip.avi'
    frame = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt), media.VideoWriter(path, 10) as writer:
        writer.write('clip.avi/000000', frame, None)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())

    with media.VideoWriter(path, 10) as writer:
        writer.write('clip.avi/000000', frame, None)
        assert not path.exists()
    assert cv2.VideoCapture(str(path)).read()[0]


def write_video(path, frames=3):
    video = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 12.5, (64, 48))
    for shade in range(frames):
        video.write(np.full((48, 64, 3), 50 * shade, np.uint8))
    video.release()


def test_images_folders_globs_and_videos_are_one_run(predict, photos):
    write_video('photos/clip.avi')
    paths = ['photos/clip.avi', 'photos/b', 'photos/*.JPG', 'photos/a/one.png']
    content = predict('segmentor', paths)
    names = ['b/one.png', 'wide.JPG', 'a/one.png']
    frames = [f'clip.avi/00000{i}' for i in range(3)]
    assert [image['file_name'] for image in content['images']] == names + frames
    assert [image['id'] for image in content['images']] == list(range(1, 7))
    written = {p.relative_to('out').as_posix() for p in Path('out').rglob('*.*')}
    assert written == {
        'predictions.json',
        'pictures/clip.avi',
        *(f'pictures/{name}' for name in names),
        *('masks/b/one.png', 'masks/a/one.png', 'masks/wide.png'),
    }


def damage(photos):
    """Files that cannot be read, between those of the fixture."""
    for name in ('a/cut.jpg', 'z.png'):
        content = cv2.imencode(Path(name).suffix, np.eye(90, dtype=np.uint8) * 255)[1]
        (photos / name).write_bytes(content.tobytes()[: -len(content) // 2])
    (photos / 'a/text.bmp').write_text('text')
    Image.fromarray(np.ones((30, 40), np.float32)).save(photos / 'float.tif')
    (photos / 'clip.mp4').write_bytes(b'text')
    return ['a/text.bmp', 'clip.mp4', 'a/cut.jpg', 'float.tif', 'z.png']


def test_bad_files_are_skipped_and_listed(predict, photos):
    expected = predict('detector', 'photos', '--score-thr', 0.1)
    bad = damage(photos)
    paths = ['photos', 'photos/clip.mp4']
    with pytest.raises(SystemExit) as end:
        predict('detector', paths, '--score-thr', 0.1, '--skip-bad')
    message, *listed = end.value.code.splitlines()
    assert message == '5 files could not be read and were skipped:' and listed == bad
    content = json.loads(Path('out/predictions.json').read_text())
    assert content['info']['skipped'] == bad
    for key in ('images', 'annotations', 'categories'):
        assert content[key] == expected[key]
    pictures = {p.name for p in Path('out/pictures').rglob('*.*')}
    assert pictures == {Path(name).name for name in NAMES}

    assert expected['info']['skipped'] == []


@pytest.mark.parametrize(
    'name, message',
    [
        ('a/cut.jpg', 'image photos/a/cut.jpg is damaged: .* add --skip-bad'),
        ('z.png', 'image photos/z.png is damaged: '),
        ('float.tif', 'photos/float.tif has pixels of type float32, expected 8 or 16'),
        ('clip.mp4', 'video photos/clip.mp4 cannot be opened'),
        ('a/text.bmp', 'photos/a/text.bmp: not an image, or damaged'),
    ],
)
def test_a_bad_file_ends_the_run_with_its_reason(predict, photos, name, message):
    damage(photos)
    with pytest.raises(SystemExit, match=message):
        predict('classifier', f'photos/{name}')


def test_nothing_but_bad_files_is_a_complete_run(predict):
    Path('x.png').write_text('text')
    with pytest.raises(SystemExit, match='1 files could not be read'):
        predict('classifier', 'x.png', '--skip-bad')
    content = json.loads(Path('out/predictions.json').read_text())
    assert content['images'] == content['annotations'] == []


def write_header(path, w, h):
    """A PNG that announces a size and has no pixels."""
    size = struct.pack('>IIBBBBB', w, h, 1, 0, 0, 0, 0)
    with open(path, 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        for kind, content in ((b'IHDR', size), (b'IDAT', zlib.compress(b''))):
            file.write(struct.pack('>I', len(content)) + kind + content)
            file.write(struct.pack('>I', zlib.crc32(kind + content)))


def test_the_limit_of_pixels_is_named(predict):
    write_header('huge.png', 40000, 30000)
    with pytest.raises(SystemExit, match='huge.png cannot be read .*PIXELS'):
        predict('classifier', 'huge.png')


def test_an_error_of_the_loader_is_passed_on(predict, photos):
    option = 'test_dataloader.dataset.pipeline.0.color_type=colour'
    with pytest.raises(SystemExit, match=r"cannot be read \(KeyError: 'colour'\)"):
        predict('classifier', 'photos', '--cfg-options', option)


def test_large_jpegs_are_checked_for_their_end(tmp_path):
    content = cv2.imencode('.jpg', np.eye(90, dtype=np.uint8) * 255)[1].tobytes()
    where = content.index(b'\xff\xc0') + 5
    content = content[:where] + struct.pack('>HH', 20000, 30000) + content[where + 4 :]
    (tmp_path / 'x.jpg').write_bytes(content[: -len(content) // 2])
    assert media.is_cut_short(tmp_path / 'x.jpg')


CHANNELS = {
    'color': 3,
    'grayscale': 1,
    'unchanged': 4,
}


def write_channels(folder, color_type, bits, name='image'):
    """An image with the channels that a model gets for a color_type."""
    random = np.random.RandomState(0)
    shape = (40, 50) if color_type == 'grayscale' else (40, 50, CHANNELS[color_type])
    image = random.randint(0, 2**bits, shape)
    path = folder / f'{name}.png'
    cv2.imwrite(str(path), image.astype(np.uint16 if bits > 8 else np.uint8))
    return path


def with_channels(make, color_type):
    """The config of a model that gets the channels of a color_type."""
    channels = CHANNELS[color_type]
    cfg = make()
    settings = dict(mean=[100.0] * channels, std=[60.0] * channels)
    if channels != 3:
        key = 'to_rgb' if cfg.default_scope == 'mmpretrain' else 'bgr_to_rgb'
        settings[key] = False
    preprocessor = (cfg if 'data_preprocessor' in cfg else cfg.model).data_preprocessor
    preprocessor.update(settings)
    cfg.model.backbone.in_channels = channels
    loader = cfg.test_dataloader.dataset.pipeline[0]
    loader.update(color_type=color_type, to_float32=color_type == 'unchanged')
    return cfg


@pytest.mark.parametrize(
    'make, color_type, bits',
    [
        *((make, 'color', 16) for make in (classifier, detector, segmentor)),
        *((make, 'grayscale', 8) for make in (classifier, detector, segmentor)),
        (classifier, 'grayscale', 16),
        (classifier, 'unchanged', 8),
        (classifier, 'unchanged', 16),
    ],
)
def test_the_model_gets_what_the_loader_of_the_config_reads(
    trained, predict, tmp_path, make, color_type, bits
):
    save(with_channels(make, color_type), tmp_path, dataset_meta=dict(classes=FRUITS))
    path = write_channels(tmp_path, color_type, bits)
    content = predict(tmp_path, path.name, '--score-thr', 0)
    expected = plain(tmp_path, path)
    found = content['annotations']
    if make is classifier:
        scores = expected.pred_score.numpy()
        assert [a['score'] for a in found] == pytest.approx(sorted(scores)[:1:-1])
    elif make is detector:
        expected = expected.pred_instances.scores.tolist()
        assert [a['score'] for a in found] == pytest.approx(expected) and expected
    else:
        mask = cv2.imread('out/masks/image.png', cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, expected.pred_sem_seg.data[0])
    picture = cv2.imread('out/pictures/image.png', cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_pictures_show_what_the_loader_read():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(media.picture(grey), np.stack([grey] * 3, axis=2))
    bgr = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert np.array_equal(media.picture(bgr), bgr)
    assert np.array_equal(media.picture(bgr.astype(np.float32)), bgr)
    many = np.dstack([bgr, grey])
    assert np.array_equal(media.picture(many), bgr)
    assert np.array_equal(media.picture(many[..., :2])[..., 2], bgr[..., 0])
    wide = np.array([[1000, 1051], [1255, 1510]], np.uint16)
    assert media.picture(wide)[..., 0].tolist() == [[0, 25], [127, 255]]
    assert (media.picture(np.full((2, 2), 300, np.uint16)) == 0).all()
    signed = np.array([[-51, 0], [51, 204]], np.float32)
    assert media.picture(signed)[..., 0].tolist() == [[0, 51], [102, 255]]


def test_a_video_needs_a_model_of_colours(trained, predict, tmp_path):
    save(with_channels(classifier, 'grayscale'), tmp_path)
    write_video('clip.avi')
    with pytest.raises(SystemExit, match="clip.avi has three .*color_type='grayscale'"):
        predict(tmp_path, 'clip.avi')
    assert not Path('out').exists()


def test_a_note_tells_that_16_bits_are_dark(predict, photos, monkeypatch):
    told = []
    monkeypatch.setattr(media, 'print_log', lambda text, **how: told.append(text))
    predict('classifier', 'photos')
    assert told == []
    values = np.linspace(17, 4095, 1200).reshape(30, 40).astype(np.uint16)
    for name in ('a/dark.png', 'dark.tif'):
        cv2.imwrite(str(photos / name), values)
    predict('classifier', 'photos')
    (text,) = told
    assert text.startswith(
        'photos/a/dark.png has 16 bits, but only values from 17 to 4095 of 65535: '
        'it is nearly black'
    )


def test_names_cannot_control_the_terminal(predict, tmp_path):
    for name in ('\x1b[2J.png', 'a\nb.png', '\x1b[2J.mp4'):
        (tmp_path / name).write_bytes(b'text')
    paths = sorted(tmp_path.glob('*.*'))
    cv2.imwrite('good.png', np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(SystemExit) as error:
        predict('classifier', [*paths, 'good.png'], '--skip-bad')
    _, *names = str(error.value).splitlines()
    assert names == [r'\x1b[2J.png', r'a\nb.png', r'\x1b[2J.mp4']


@pytest.mark.parametrize('suffix', ['png', 'mp4'])
def test_a_name_that_is_not_utf8_is_explained(predict, tmp_path, suffix):
    """OpenCV would end the process."""
    path = os.path.join(os.fsencode(tmp_path), b'\xff.' + suffix.encode())
    with open(path, 'wb') as file:
        file.write(b'text')
    with pytest.raises(SystemExit, match=r'\\udcff\.\w+.* its name is not UTF-8'):
        predict('classifier', os.fsdecode(path))


@pytest.mark.parametrize('size', [(1, 20000), (20000, 1)])
def test_a_thin_image_is_not_enlarged_without_limit(predict, size):
    """To a side of 224, it would have a billion pixels."""
    cv2.imwrite('thin.png', np.zeros((*size, 3), np.uint8))
    predict('classifier', 'thin.png')
    assert cv2.imread('out/pictures/thin.png').shape[:2] == size


def out_of_memory(library):
    if library == 'numpy':
        np.empty((2**20, 2**20, 2**10), np.uint8)
    elif library == 'torch':
        torch.empty(2**50)
    else:
        cv2.resize(np.zeros((1, 1, 3), np.uint8), (2**30, 2**30))


@pytest.mark.parametrize('library', ['numpy', 'torch', 'cv2'])
def test_an_image_larger_than_the_memory_is_skipped(
    predict, photos, monkeypatch, library
):
    draw = tasks.Classification.draw

    def fail(self, image, sample):
        if image.shape[0] > 100:
            out_of_memory(library)
        return draw(self, image, sample)

    monkeypatch.setattr(tasks.Classification, 'draw', fail)
    message = r'a/one\.png of 70 x 130 pixels needs more memory'
    with pytest.raises(SystemExit, match=message):
        predict('classifier', 'photos')
    with pytest.raises(SystemExit, match=r'1 files .* skipped:\na/one\.png$'):
        predict('classifier', 'photos', '--skip-bad')
    content = json.loads(Path('out/predictions.json').read_text())
    assert [image['file_name'] for image in content['images']] == NAMES[1:]
    assert {x['image_id'] for x in content['annotations']} == {1, 2}


def test_other_errors_of_a_model_are_not_skipped(predict, photos, monkeypatch):
    def fail(self, image, sample):
        raise RuntimeError('a bug')

    monkeypatch.setattr(tasks.Classification, 'draw', fail)
    with pytest.raises(RuntimeError, match='a bug'):
        predict('classifier', 'photos', '--skip-bad')


@pytest.mark.parametrize('kind', ['pictures', 'masks'])
def test_nothing_is_written_outside_the_folder(predict, photos, tmp_path, kind):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / f'out/{kind}').mkdir(parents=True)
    (tmp_path / f'out/{kind}/a').symlink_to('../../elsewhere')
    with pytest.raises(SystemExit, match=f'out/{kind}/a leads out of out'):
        predict('segmentor', 'photos')
    assert not list((tmp_path / 'elsewhere').iterdir())


@pytest.mark.parametrize('suffix', ['png', 'mp4'])
def test_pipes_are_not_opened(predict, suffix):
    os.mkfifo(f'pipe.{suffix}')
    with pytest.raises(SystemExit, match=rf'pipe\.{suffix}'):
        predict('classifier', f'pipe.{suffix}')


def test_an_image_that_cannot_fit_is_not_decoded(predict, monkeypatch):
    cv2.imwrite('x.png', np.zeros((50, 40, 3), np.uint8))
    monkeypatch.setattr(untrusted, '_memory', lambda: 40_000)
    predict('classifier', 'x.png')
    monkeypatch.setattr(untrusted, '_memory', lambda: 39_999)
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: pytest.fail('decoded'))
    with pytest.raises(SystemExit, match=r'x\.png is too large: .* but this machine'):
        predict('classifier', 'x.png')
