import pytest

pytest.register_assert_rewrite(f'{__package__}.datasets')

from .datasets import Coco, Folders, Maps  # noqa: E402


@pytest.fixture
def pets(tmp_path):
    pytest.importorskip('mmdet')
    return Coco(tmp_path)


@pytest.fixture
def maps(tmp_path):
    pytest.importorskip('mmseg')
    return Maps(tmp_path)


@pytest.fixture
def folders(tmp_path):
    pytest.importorskip('mmpretrain')
    return Folders(tmp_path)
