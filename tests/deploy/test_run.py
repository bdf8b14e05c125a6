"""tools/deploy/run.py, from the exported file to the picture."""

import os
import runpy
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm.deploy.export import export, take, to_onnx
from lightvit_mm.files import IMAGE_SUFFIXES

from ..small import classifier
from .common import CROP, EXPORT, RUN, assert_same, write_model

pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')

BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
before = set(sys.modules)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
assert not (set(sys.modules) - before) & set({blocked})
"""


def run_alone(*args):
    """Run run.py where only the packages that it names can be imported."""
    blocked = (
        'torch',
        'torchvision',
        'mmengine',
        'mmcv',
        'mmdet',
        'mmseg',
        'mmpretrain',
        'lightvit_mm',
        'cv2',
        'onnx',
        'matplotlib',
    )
    return subprocess.run(
        [sys.executable, '-c', BLOCKED.format(blocked=blocked), RUN, *map(str, args)],
        capture_output=True,
        text=True,
    )


def test_from_config_to_picture(tool, tmp_path, photos, capsys):
    config, checkpoint = write_model(classifier(steps=CROP), tmp_path)
    tool(EXPORT, config, checkpoint)
    tool(EXPORT, config, checkpoint, '--part', 'backbone', '--format', 'openvino')
    tool(
        EXPORT,
        config,
        checkpoint,
        '--int8',
        photos[0].parent,
        '--out',
        'deep/small.onnx',
    )
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if line.startswith(('work_', 'deep'))]
    assert lines[:2] == [
        'work_dirs/deploy/config.onnx: takes any number of images of 32 x 32 pixels',
        'work_dirs/deploy/config_backbone.xml: takes any number of images of any size',
    ]
    assert lines[2].startswith('deep/small.onnx: agrees with float32, ')
    assert lines[2].endswith('% (images of the same class) on 1 images')

    for model in (
        'work_dirs/deploy/config.onnx',
        'deep/small.onnx',
        'work_dirs/deploy/config_backbone.xml',
    ):
        done = run_alone(model, *photos[:2], '--out', 'out')
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == f'{photos[0]}:'
        assert '  picture: out/high.png' in done.stdout
        picture = np.asarray(Image.open('out/wide.png'))
        assert picture.shape[0] == 83 and picture.shape[1] % 150 == 0
        assert picture.shape[2] == 3


def test_pictures_show_what_was_found(run, tool, files, photos, capsys):
    for kind, suffix in (('detector', '.onnx'), ('segmentor', '.xml')):
        path = files(kind)[2].with_suffix(suffix)
        tool(RUN, path, photos[0], '--out', kind)
        assert len(capsys.readouterr().out.splitlines()) > 3
        picture = np.asarray(Image.open(f'{kind}/wide.png')).astype(int)
        photo = run.read_image(photos[0])
        assert picture.shape == photo.shape
        assert (picture != photo).any(axis=2).mean() > 0.05
    tool(RUN, files('detector')[2], photos[0], '--score-thr', 1, '--out', 'no')
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert np.array_equal(np.asarray(Image.open('no/wide.png')), photo)


def test_misuse_is_explained(tool, files, photos, tmp_path):
    path = files('segmentor')[2]
    to_onnx(torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), tmp_path / 'bare.onnx')
    (tmp_path / 'text.onnx').write_text('This is no model.')
    (tmp_path / 'text.png').write_text('This is no image.')
    cfg, model, _ = files('segmentor')
    export(model, cfg, tmp_path / 'fixed.onnx', size=(48, 48))
    photo = photos[0]
    for args, message in (
        (['model.pth', photo], 'model.pth should end in'),
        (['none.onnx', photo], 'There is no model none.onnx'),
        (['bare.onnx', photo], 'does not describe how to prepare images'),
        (['text.onnx', photo], 'text.onnx cannot be read by onnxruntime'),
        ([path, 'text.png'], 'image text.png cannot be read'),
        ([path, 'none.png'], 'image none.png cannot be read'),
        ([path, photo, photo], '2 images are named wide'),
        (['fixed.onnx', photo], 'at most 48 x 48 pixels, but this one has 66 x 120'),
    ):
        with pytest.raises(SystemExit, match=message) as error:
            tool(RUN, *args)
        assert '\n' not in str(error.value)
    assert not list(Path().glob('work_dirs/**/*.png'))


def test_images_are_padded_to_a_fixed_size(run, files, photos, tmp_path):
    cfg, model, _ = files('segmentor')
    export(model, cfg, tmp_path / 'fixed.onnx', size=(96, 128))
    network = run.read_model(tmp_path / 'fixed.onnx')
    seen = run.prepare(run.read_image(photos[0]), network.info)
    images = run.normalise(seen, network.info)
    assert images.shape == (1, 3, 96, 128)
    assert (images[:, :, seen.shape[0] :] == 0).all()
    assert_same(
        list(network.run(dict(images=images)).values()),
        take(model, cfg)(torch.from_numpy(images)),
    )


def pixels(bits=8, channels=None):
    shape = (20, 30) if channels is None else (20, 30, channels)
    return np.random.RandomState(0).randint(0, 2**bits, shape).astype(f'u{bits // 8}')


def grey16_big_endian(path):
    image = Image.new('I;16B', (30, 20))
    image.frombytes(pixels(16).astype('>u2').tobytes())
    image.save(path)


def turned(path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(pixels(channels=3)).save(path, exif=exif)


def pgm16(path):
    path.write_bytes(b'P5 30 20 65535\n' + pixels(16).astype('>u2').tobytes())


def palette():
    return Image.fromarray(pixels(channels=3)).quantize(16)


# Function that writes the file, and the largest difference; Pillow and OpenCV
# round CMYK and 16-bit colours in a TIFF differently.
KINDS = {
    'grey.png': (lambda p: Image.fromarray(pixels()).save(p), 0),
    'grey16.png': (lambda p: cv2.imwrite(str(p), pixels(16)), 0),
    'grey16.tif': (lambda p: cv2.imwrite(str(p), pixels(16)), 0),
    'grey16_big_endian.tif': (grey16_big_endian, 0),
    'grey16.pgm': (pgm16, 0),
    'rgb16.png': (lambda p: cv2.imwrite(str(p), pixels(16, channels=3)), 0),
    'rgb16.tif': (lambda p: cv2.imwrite(str(p), pixels(16, channels=3)), 1),
    'rgba16.png': (lambda p: cv2.imwrite(str(p), pixels(16, channels=4)), 0),
    'grey_alpha.png': (
        lambda p: Image.fromarray(pixels(channels=2), 'LA').save(p),
        0,
    ),
    'rgba.png': (lambda p: Image.fromarray(pixels(channels=4)).save(p), 0),
    'rgba.tif': (lambda p: Image.fromarray(pixels(channels=4)).save(p), 0),
    'palette.png': (lambda p: palette().save(p), 0),
    'palette_transparent.png': (lambda p: palette().save(p, transparency=3), 0),
    'palette.tif': (lambda p: palette().save(p), 0),
    'bits.png': (lambda p: Image.fromarray(pixels() > 99).save(p), 0),
    'bits.tif': (lambda p: Image.fromarray(pixels() > 99).save(p), 0),
    'cmyk.jpg': (lambda p: Image.fromarray(pixels(channels=4), 'CMYK').save(p), 2),
    'cmyk.tif': (lambda p: Image.fromarray(pixels(channels=4), 'CMYK').save(p), 1),
    'turned.jpg': (turned, 0),
    'turned.png': (turned, 0),
    'turned.tif': (turned, 0),
}


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', KINDS)
def test_images_are_read_as_in_training(run, tmp_path, name):
    write, difference = KINDS[name]
    write(tmp_path / name)
    expected = mmcv.imread(tmp_path / name)[..., ::-1].astype(int)
    found = run.read_image(tmp_path / name)
    assert found.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= difference and found.std() > 20


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_32_bits_are_refused_as_in_training(run, tmp_path, dtype):
    Image.fromarray(np.ones((20, 30), dtype)).save(tmp_path / 'x.tif')
    assert mmcv.imread(tmp_path / 'x.tif') is None
    with pytest.raises(run.BadImage, match='32 bits, expected 8 or 16'):
        run.read_image(tmp_path / 'x.tif')


def test_a_note_tells_that_16_bits_are_dark(run, tmp_path, capsys):
    for high, notes in ((65535, 0), (4095, 1)):
        values = np.linspace(17, high, 600).reshape(20, 30).astype(np.uint16)
        cv2.imwrite(str(tmp_path / 'x.png'), values)
        run.read_image(tmp_path / 'x.png')
        told = capsys.readouterr().out
        assert told.count('nearly black') == notes
    assert 'only values from 17 to 4095 of 65535' in told


def write_header(path, w, h):
    """A PNG that announces a size and ends in its first pixels."""
    size = struct.pack('>IIBBBBB', w, h, 1, 0, 0, 0, 0)
    with open(path, 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        for kind, content in ((b'IHDR', size), (b'IDAT', zlib.compress(b'\0'))):
            file.write(struct.pack('>I', len(content)) + kind + content)
            file.write(struct.pack('>I', zlib.crc32(kind + content)))


@pytest.mark.filterwarnings('ignore:Image size')
@pytest.mark.parametrize(
    'size, reason', [((16000, 12000), 'truncated'), ((60000, 50000), 'exceeds limit')]
)
def test_the_limit_of_pixels_is_that_of_training(run, tmp_path, size, reason):
    write_header(tmp_path / 'x.png', *size)
    with pytest.raises(run.BadImage, match=f'x.png cannot be read .*{reason}') as error:
        run.read_image(tmp_path / 'x.png')
    assert '\n' not in str(error.value)


def test_folders_and_globs_are_searched(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *('a/x.jpg', 'a/deep/y.TIF', 'a/notes.txt', 'a/._x.jpg', 'b/x.png'),
        *(
            'a/.ipynb_checkpoints/z.jpg',
            'a/__MACOSX/z.jpg',
            'a/out/x.png',
            'c/1[1].png',
        ),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def find(*paths):
        found = run.find_images([Path(path) for path in paths], Path('a/out'))
        return {name: path.as_posix() for name, path in found.items()}

    folder = {'deep/y': 'a/deep/y.TIF', 'x': 'a/x.jpg'}
    assert find('a') == folder
    assert find('a/x.jpg') == {'x': 'a/x.jpg'}
    assert find('?/x.*') == {'a/x': 'a/x.jpg', 'b/x': 'b/x.png'}
    assert find('a', 'b/x.png') == {
        **{f'a/{name}': path for name, path in folder.items()},
        'b/x': 'b/x.png',
    }
    assert find('c/1[1].png') == {'1[1]': 'c/1[1].png'}
    Path('empty').mkdir()
    for paths, message in (
        (['a/*.bmp'], r'a/\*.bmp cannot be read: there is no such file'),
        (['empty'], 'no image in empty or below: expected files that end in .bmp'),
        (['a/x.jpg', 'a/x.*'], '2 images are named x and would overwrite'),
    ):
        with pytest.raises(SystemExit, match=message):
            find(*paths)


def test_bad_images_are_skipped_and_listed(tool, files, photos, tmp_path, capsys):
    folder = tmp_path / 'photos'
    (folder / 'a').mkdir(parents=True)
    for name in ('a/good.png', 'z.png'):
        (folder / name).write_bytes(photos[0].read_bytes())
    (folder / 'a/cut.png').write_bytes(photos[0].read_bytes()[:-2000])
    (folder / 'text.jpg').write_text('This is no image.')
    path = files('segmentor')[2]
    with pytest.raises(SystemExit) as end:
        tool(RUN, path, folder, '--out', 'out', '--skip-bad')
    assert end.value.code.startswith('2 images were skipped:\n')
    for line, name in zip(end.value.code.splitlines()[1:], ('a/cut.png', 'text.jpg')):
        assert line.startswith(f'The image {folder / name} cannot be read (')
    assert {p.relative_to('out').as_posix() for p in Path('out').rglob('*.*')} == {
        'a/good.png',
        'z.png',
    }
    with pytest.raises(SystemExit, match='a/cut.png cannot be read'):
        tool(RUN, path, folder, '--out', 'stopped')
    assert not Path('stopped').exists()


def box_of(picture):
    """The extent of what differs from white: left, top, right, bottom."""
    rows, columns = (np.asarray(picture) != 255).any(axis=2).nonzero()
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize('place', [(-5, -5), (95, 3), (20, 57), (99, 59), (30.5, 20)])
def test_labels_are_inside_the_picture(run, place):
    picture = Image.new('RGB', (100, 60), 'white')
    run.write_text(picture, place, 'banana 0.98', (255, 0, 0))
    whole = Image.new('RGB', (400, 400), 'white')
    run.write_text(whole, (150, 150), 'banana 0.98', (255, 0, 0))
    x1, y1, x2, y2 = box_of(picture)
    assert np.array_equal(
        np.asarray(picture.crop((x1, y1, x2, y2))),
        np.asarray(whole.crop(box_of(whole))),
    )


def test_labels_larger_than_the_picture_are_made_smaller(run):
    sizes = []
    for size in ((40, 30), (999, 300)):
        picture = Image.new('RGB', size, 'white')
        run.write_text(picture, (2, 2), 'a name\nand a much longer one', (255, 0, 0))
        x1, y1, x2, y2 = box_of(picture)
        sizes.append((x2 - x1, y2 - y1))
    small, whole = sizes
    assert small[0] == 40
    assert small[1] == pytest.approx(whole[1] * 40 / whole[0], abs=1)


def test_a_detector_labels_boxes_at_the_border(run):
    info = dict(
        steps=[],
        channel_order='rgb',
        mean=[0] * 3,
        std=[1] * 3,
        pad_divisor=1,
        size=None,
        classes=['banana'],
    )

    def coloured(*box):
        outputs = dict(
            boxes=np.array([[box]], np.float32),
            scores=np.array([[0.9]]),
            labels=np.array([[0]]),
        )
        model = run.Model(lambda inputs: outputs, info)
        image = np.full((60, 120, 3), 255, np.uint8)
        picture = np.asarray(run.detect(model, image, 0.5))
        return (picture == run.colour(0)).all(axis=2).sum()

    assert coloured(100, 30, 118, 50) == pytest.approx(coloured(9, 30, 27, 50), rel=0.1)


def test_types_of_images_are_those_of_the_package():
    # run.py works without the package, so it has its own list.
    assert tuple(runpy.run_path(RUN)['SUFFIXES'].split()) == IMAGE_SUFFIXES


ESCAPE = '\x1b[2J'  # clears a terminal


def write_hostile_names(tmp_path):
    """A model and images whose names hold control characters."""
    classes = [f'{ESCAPE}{i}\nx\u202e' for i in range(5)]
    cfg = classifier(steps=CROP)
    config, checkpoint = write_model(cfg, tmp_path, dataset_meta=dict(classes=classes))
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (40, 40)).save(tmp_path / f'in/{ESCAPE}good.png')
    (tmp_path / f'in/{ESCAPE}bad.png').write_bytes(b'text')
    return config, checkpoint


def test_names_cannot_control_the_terminal(tool, tmp_path, capsys):
    tool(EXPORT, *write_hostile_names(tmp_path), '--out', 'model.onnx')
    with pytest.raises(SystemExit) as error:
        tool(RUN, 'model.onnx', 'in', '--skip-bad')
    shown = capsys.readouterr().out + str(error.value)
    assert all(char.isprintable() or char == '\n' for char in shown)
    assert r'  0' in shown and r' \x1b[2J0\nx\u202e' in shown
    assert shown.count(r'in/\x1b[2Jgood.png') == 1 and r'in/\x1b[2Jbad.png' in shown


def test_pipes_devices_and_folders_are_no_images(run, tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'zero.png').symlink_to('/dev/zero')
    (tmp_path / 'circle.png').symlink_to('circle.png')
    (tmp_path / 'folder.png').mkdir()
    for name in ('pipe', 'zero', 'circle'):
        with pytest.raises(run.BadImage, match=rf'{name}\.png cannot.*not a file'):
            run.read_image(tmp_path / f'{name}.png')
    with pytest.raises(SystemExit, match='There is no image'):
        run.find_images([tmp_path], tmp_path / 'out')


def test_nothing_is_written_outside_the_folder(run, tmp_path):
    for name in ('elsewhere', 'out'):
        (tmp_path / name).mkdir()
    (tmp_path / 'elsewhere/file.png').write_text('kept')
    (tmp_path / 'out/file.png').symlink_to('../elsewhere/file.png')
    (tmp_path / 'out/link').symlink_to('../elsewhere')
    picture = Image.new('RGB', (4, 4))
    run.save(picture, tmp_path / 'out/file.png', tmp_path / 'out')
    with pytest.raises(SystemExit, match='out/link/new leads out of .*out'):
        run.save(picture, tmp_path / 'out/link/new/x.png', tmp_path / 'out')
    assert [x.name for x in (tmp_path / 'elsewhere').iterdir()] == ['file.png']
    assert (tmp_path / 'elsewhere/file.png').read_text() == 'kept'
    assert Image.open(tmp_path / 'out/file.png').size == (4, 4)


def test_an_image_larger_than_the_memory_is_named(run, tmp_path, monkeypatch):
    def fail(model, image, threshold):
        raise MemoryError

    Image.new('RGB', (40, 30)).save(tmp_path / 'x.png')
    monkeypatch.setitem(run.TASKS, 'classification', fail)
    model = run.Model(None, dict(task='classification'))
    with pytest.raises(run.BadImage, match=r'x\.png of 40 x 30 pixels needs more mem'):
        run.predict(model, tmp_path / 'x.png', 0.3)
