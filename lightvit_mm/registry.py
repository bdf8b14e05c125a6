"""The registries of this package.

mmengine imports ``lightvit_mm.registry`` when it meets the scope ``lightvit_mm``,
as in ``type='lightvit_mm.LightViT'``. It imports the ``locations`` when it looks
up a name.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.datasets'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.coco_metric'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='lightvit_mm',
    locations=[
        'lightvit_mm.engine.exact_resume',
        'lightvit_mm.engine.finite_loss',
        'lightvit_mm.engine.lost_rank',
        'lightvit_mm.engine.stop_signal',
    ],
)
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='lightvit_mm',
    locations=['lightvit_mm.models'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optim_wrapper_constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.layer_decay'],
)
RUNNERS = Registry(
    'runner',
    parent=MMENGINE_RUNNERS,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.own_data'],
)
STRATEGIES = Registry(
    'strategy',
    parent=MMENGINE_STRATEGIES,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.deepspeed', 'lightvit_mm.engine.fsdp'],
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='lightvit_mm',
    locations=['lightvit_mm.engine.load_seg_map'],
)
