"""Images and masks that cannot be read are named."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile


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
