"""A patch for processes that torchrun restarts."""

import os
from types import ModuleType


def separate_attempts(module: ModuleType) -> None:
    """Give each restart its own keys in the store that all restarts share.

    Args:
        module: ``torch.distributed.rendezvous``.
    """
    create = module._create_c10d_store

    def create_store(*args, **kwargs):
        from torch.distributed import PrefixStore

        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        return PrefixStore(f'attempt_{attempt}', create(*args, **kwargs))

    module._create_c10d_store = create_store
