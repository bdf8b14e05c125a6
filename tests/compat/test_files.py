"""Images that cannot be read are named; pickles of datasets execute nothing."""

import pickle

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile

from lightvit_mm.safe_load import RefusedError

from ..hostile import Bomb


def masks():
    pytest.importorskip('mmseg')
    from mmseg.datasets.transforms import LoadAnnotations

    return LoadAnnotations()


@pytest.mark.parametrize(
    'loader, key', [(LoadImageFromFile, 'img_path'), (masks, 'seg_map_path')]
)
@pytest.mark.parametrize('content', [b'', b'This is no image.'])
def test_a_file_that_is_no_image_is_named(tmp_path, loader, key, content):
    path = tmp_path / 'broken.png'
    path.write_bytes(content)
    results = {key: str(path), 'reduce_zero_label': False, 'seg_fields': []}
    with pytest.raises(ValueError, match=f'{path} cannot be read; expected an image'):
        loader()(results)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        loader()(results)
    image = np.full((2, 3, 3), 7, np.uint8)
    cv2.imwrite(str(path), image if key == 'img_path' else image[..., 0])
    results = loader()(results)
    assert (results['img' if key == 'img_path' else 'gt_seg_map'] == 7).all()


def test_files_may_be_left_out(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'')
    results = dict(img_path=str(tmp_path / 'broken.png'))
    assert LoadImageFromFile(ignore_empty=True)(results) is None


def read_biomedical(path, value):
    pytest.importorskip('mmseg')
    from mmseg.datasets.transforms import LoadBiomedicalData

    path.write_bytes(pickle.dumps(value))
    load = LoadBiomedicalData(with_seg=True, decode_backend='pickle')
    return load(dict(img_path=str(path)))['gt_seg_map']


def read_cifar(path, value):
    pytest.importorskip('mmpretrain')
    from mmpretrain.datasets import CIFAR10

    folder = path / CIFAR10.base_folder
    folder.mkdir(parents=True)
    # As Python 2 wrote them.
    for name, _ in CIFAR10.test_list:
        batch = dict(data=value, labels=[0])
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = dict(label_names=['a'])
    (folder / CIFAR10.meta['filename']).write_bytes(pickle.dumps(names, protocol=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CIFAR10, '_check_integrity', lambda self: True)
        return CIFAR10(data_root=str(path), split='test')[0]['img']


def read_hierarchy(path, value):
    pytest.importorskip('mmdet')
    from mmdet.datasets import OpenImagesChallengeDataset

    if not isinstance(value, np.ndarray):
        value = np.array([[value]], object)
    with open(path, 'wb') as file:
        np.save(file, value)
    dataset = OpenImagesChallengeDataset.__new__(OpenImagesChallengeDataset)
    dataset.backend_args = None
    return dataset._get_relation_matrix(str(path))


PICKLES = [
    (read_biomedical, np.arange(8.0).reshape(2, 4), np.arange(4.0) + 4),
    (
        read_cifar,
        np.arange(3072).astype(np.uint8).reshape(1, -1),
        np.arange(3072).astype(np.uint8).reshape(3, 32, 32).transpose(1, 2, 0),
    ),
    (read_hierarchy, np.arange(9).reshape(3, 3), [[4, 5], [7, 8]]),
    (read_hierarchy, np.array([['', 'a'], ['b', 1]], object), [[1]]),
]


@pytest.mark.parametrize('reader, value, expected', PICKLES)
def test_pickles_of_datasets_execute_nothing(
    tmp_path, monkeypatch, reader, value, expected
):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    np.testing.assert_array_equal(reader(tmp_path / 'good', value), expected)
    with pytest.raises(RefusedError, match='mkdir'):
        reader(tmp_path / 'bad', Bomb(tmp_path / 'marker'))
    assert not (tmp_path / 'marker').exists()
