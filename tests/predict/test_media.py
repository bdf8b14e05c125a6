"""Images and videos that are read and drawn."""

import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvit_mm.predict import media

from .models import NAMES, of_image, plain

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
