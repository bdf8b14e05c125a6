import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(REPOSITORY / 'tools'))


@pytest.fixture(scope='session')
def digits(tmp_path_factory):
    """The demo's data sets with fewer and smaller scenes."""
    from digit_scenes import write_datasets
    root = tmp_path_factory.mktemp('digits')
    write_datasets(root / 'data', num_train=8, num_val=4, scene_size=96,
                   crop_size=28)
    return root / 'data'
