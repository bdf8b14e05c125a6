"""The errors of predicted masks, counted pixel by pixel."""

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmseg')

from lightvit_mm.analysis.segmentation_errors import count_errors

CLASSES = ('sky', 'road', 'car')
SHAPE = (6, 8)


@pytest.fixture
def masks(tmp_path):
    """Two images with masks, in which 255 is ignored, and predictions."""
    random = np.random.RandomState(0)
    for folder in ('images', 'true', 'predicted'):
        (tmp_path / folder).mkdir()
    for name in ('a', 'b'):
        image = random.randint(0, 256, (*SHAPE, 3)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f'images/{name}.png')
        true = random.choice([0, 1, 2, 255], SHAPE).astype(np.uint8)
        Image.fromarray(true).save(tmp_path / f'true/{name}.png')
        predicted = random.randint(0, 3, SHAPE).astype(np.uint8)
        Image.fromarray(predicted).save(tmp_path / f'predicted/{name}.png')
    return tmp_path


def config(root):
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='true'),
        img_suffix='.png',
        metainfo=dict(classes=CLASSES),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    return Config(dict(default_scope='mmseg', test_dataloader=dict(dataset=dataset)))


def test_errors_are_those_of_a_count_by_pixel(masks):
    confusion = np.zeros((3, 3), int)
    shares = {}
    for name in ('a', 'b'):
        true, predicted = (
            np.array(Image.open(masks / folder / f'{name}.png'))
            for folder in ('true', 'predicted')
        )
        wrong = total = 0
        for y in range(SHAPE[0]):
            for x in range(SHAPE[1]):
                if true[y, x] != 255:
                    confusion[true[y, x], predicted[y, x]] += 1
                    total += 1
                    wrong += true[y, x] != predicted[y, x]
        shares[str(masks / f'images/{name}.png')] = wrong / total

    errors = count_errors(config(masks), masks / 'predicted')

    assert errors.classes == CLASSES
    np.testing.assert_array_equal(errors.confusion, confusion)
    assert errors.wrong == pytest.approx(shares)
    assert list(errors.wrong) == sorted(shares, key=shares.get, reverse=True)


def test_a_missing_mask_and_one_of_another_size_are_named(masks):
    path = masks / 'predicted/b.png'
    Image.new('L', (3, 2)).save(path)
    with pytest.raises(ValueError, match=r'b\.png has 3 x 2 pixels, expected 8 x 6'):
        count_errors(config(masks), masks / 'predicted')
    path.unlink()
    with pytest.raises(FileNotFoundError, match='test_evaluator.output_dir'):
        count_errors(config(masks), masks / 'predicted')


def test_predictions_are_shifted_as_mmseg_writes_them(masks):
    """With reduce_zero_label, IoUMetric adds 1 to the classes."""
    before = count_errors(config(masks), masks / 'predicted')
    for folder in ('true', 'predicted'):
        for path in (masks / folder).iterdir():
            values = np.array(Image.open(path))
            shifted = np.where(values == 255, 0, values + 1).astype(np.uint8)
            Image.fromarray(shifted).save(path)
    cfg = config(masks)
    cfg.test_dataloader.dataset.reduce_zero_label = True
    after = count_errors(cfg, masks / 'predicted')
    np.testing.assert_array_equal(after.confusion, before.confusion)
    assert after.wrong == before.wrong


def test_images_of_one_name_are_an_error(masks):
    for folder in ('images', 'true'):
        (masks / folder / 'x').mkdir()
        (masks / folder / 'b.png').rename(masks / folder / 'x/a.png')
    with pytest.raises(ValueError, match='a.png and .*x/a.png have one mask'):
        count_errors(config(masks), masks / 'predicted')
