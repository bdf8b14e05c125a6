"""What the page shows of an image, without the page."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm.app import explorer
from lightvit_mm.app.explorer import Explorer
from lightvit_mm.config import read_config

from ..predict.models import FRUITS, plain


@pytest.fixture
def explore(models):
    def make(kind):
        folder = models[kind]
        return Explorer(read_config(str(folder / 'config.py')), folder / 'model.pth')

    return make


def test_a_classifier_shows_the_most_likely_classes(explore, models, photo):
    shown = explore('classifier')
    picture, rows = shown.predictions(shown.open(photo), 0.3)
    top = plain(models['classifier'], photo).pred_score.topk(5)
    assert shown.task.columns == ['class', 'score']
    assert rows == [
        [FRUITS[label], f'{score:.3f}']
        for score, label in zip(top.values.tolist(), top.indices.tolist())
    ]
    assert picture.shape == (224, 404, 3)


def test_a_segmentor_shows_the_share_of_each_class(explore, models, photo):
    shown = explore('segmentor')
    picture, rows = shown.predictions(shown.open(photo), 0.3)
    labels = plain(models['segmentor'], photo).pred_sem_seg.data[0]
    shares = {FRUITS[i]: (labels == i).double().mean() for i in labels.unique()}
    assert len(shares) > 1
    assert rows == [[name, f'{share:.1%}'] for name, share in shares.items()]
    assert picture.shape == (83, 150, 3)


def test_the_score_filters_a_detector(explore, models, photo):
    shown = explore('detector')
    opened = shown.open(photo)
    found = plain(models['detector'], photo).pred_instances
    for score_thr in (0.3, found.scores[2].item(), 0.05):
        rows = shown.predictions(opened, score_thr)[1]
        assert [row[:2] for row in rows] == [
            [FRUITS[label], f'{score:.3f}']
            for label, score in zip(found.labels.tolist(), found.scores.tolist())
            if score > score_thr
        ]
    x1, y1, x2, y2 = found.bboxes[0].tolist()
    assert rows[0][2] == ', '.join(f'{v:.0f}' for v in (x1, y1, x2 - x1, y2 - y1))
    picture, rows = shown.predictions(opened, 1)
    assert rows == []
    # The visualizer resamples the image.
    image = cv2.imread(str(photo))[..., ::-1]
    assert np.corrcoef(picture.ravel(), image.ravel())[0, 1] > 0.9
    covered = shown.predictions(opened, 0.3)[0]
    assert np.corrcoef(covered.ravel(), image.ravel())[0, 1] < 0.7


def test_without_global_tokens_there_is_no_attention(models, photo, tmp_path):
    cfg = read_config(str(models['classifier'] / 'config.py'))
    cfg.model.backbone.num_tokens = 0
    from mmengine.runner import save_checkpoint

    from .. import small

    torch.manual_seed(0)
    weights = dict(state_dict=small.build(cfg).state_dict(), meta={})
    save_checkpoint(weights, str(tmp_path / 'model.pth'))
    shown = Explorer(cfg, tmp_path / 'model.pth')
    assert shown.blocks == [] and shown.open(photo).blocks == {}


# Odd and malicious files


def chunk(kind, data):
    body = kind + data
    return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))


def bomb(side, compressed=b''):
    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(compressed)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*parts) for parts in chunks)


def hdr(side):
    return f'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {side} +X {side}\n'.encode()


BAD = {
    'bomb.png': bomb(20_000),
    'larger.png': bomb(60_000),
    'bomb.hdr': hdr(30_000),
    'text.png': b'<b>text</b>',
    'empty.jpg': b'',
}


@pytest.mark.parametrize('name', BAD)
def test_a_bad_file_is_explained(explore, tmp_path, monkeypatch, name):
    shown = explore('classifier')
    (tmp_path / name).write_bytes(BAD[name])
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: pytest.fail('decoded'))
    with pytest.raises(ValueError, match=f'^The image {name} cannot be read') as error:
        shown.open(tmp_path / name)
    assert str(tmp_path) not in str(error.value) and '\n' not in str(error.value)


def test_a_truncated_file_is_explained(explore, photo):
    shown = explore('classifier')
    for suffix in ('.jpg', '.png'):
        path = photo.with_name(f'cut{suffix}')
        cv2.imwrite(str(path), cv2.imread(str(photo)))
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(ValueError, match=f'^The image cut{suffix} is damaged$'):
            shown.open(path)


def test_the_limit_of_pixels_is_exact(explore, photo, monkeypatch):
    shown = explore('classifier')
    monkeypatch.setattr(explorer, 'MOST_PIXELS', 150 * 83)
    shown.open(photo)
    monkeypatch.setattr(explorer, 'MOST_PIXELS', 150 * 83 - 1)
    with pytest.raises(ValueError, match='it has 12450 pixels, expected at most 12449'):
        shown.open(photo)


def test_odd_images_are_shown(explore, photo):
    """16 bits, grey, transparent, and turned by a large EXIF header."""
    shown = explore('classifier')
    image = cv2.imread(str(photo))
    folder = photo.parent
    cv2.imwrite(str(folder / '16.png'), image.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'grey.png'), image[..., 0])
    cv2.imwrite(str(folder / 'rgba.png'), np.dstack([image, image[..., :1]]))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = 'x' * 60_000
    Image.open(photo).save(folder / 'exif.jpg', exif=exif)
    scores = shown.predictions(shown.open(photo), 0)[1]
    for name in ('16.png', 'rgba.png'):
        assert shown.predictions(shown.open(folder / name), 0)[1] == scores
    grey = shown.open(folder / 'grey.png').image
    assert np.array_equal(grey, np.repeat(image[..., :1], 3, axis=2))
    assert shown.open(folder / 'exif.jpg').image.shape == (150, 83, 3)
