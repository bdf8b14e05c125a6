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

        store = create(*args, **kwargs)
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        # Processes without this patch can take part in the first attempt.
        return store if attempt == '0' else PrefixStore(f'attempt_{attempt}', store)

    module._create_c10d_store = create_store
