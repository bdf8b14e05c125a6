"""Workers of data loaders."""

import time

import pytest
from torch.utils.data import DataLoader, Dataset

import lightvit_mm  # noqa: F401


class Endless(Dataset):
    """Its second image takes forever."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        if i:
            time.sleep(1000)
        return i


@pytest.mark.parametrize('method', ['fork', 'forkserver'])
def test_a_busy_worker_obeys_its_parent(method):
    loader = DataLoader(Endless(), num_workers=1, multiprocessing_context=method)
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(timeout=10)
    ended = not worker.is_alive()
    worker.kill()
    assert ended
