from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from ..predict.models import save_each
from ..saved import sharpen


@pytest.fixture(scope='package')
def models(tmp_path_factory):
    """A folder with config.py and model.pth for each task, and an image."""
    folders = save_each(tmp_path_factory)
    for folder in folders.values():
        # Attention as far from uniform as that of a trained model.
        content = torch.load(folder / 'model.pth', weights_only=False)
        holder = SimpleNamespace(named_parameters=content['state_dict'].items)
        sharpen(holder)
        torch.save(content, folder / 'model.pth')
    return folders


@pytest.fixture
def photo(tmp_path):
    coarse = np.random.RandomState(0).randint(0, 256, (9, 9, 3), np.uint8)
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), cv2.resize(coarse, (150, 83), interpolation=cv2.INTER_CUBIC))
    return path
