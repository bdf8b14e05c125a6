"""DeepSpeed's checkpoints; a stand-in with its classes, which need no compiler."""

import enum
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch

from lightvit_mm.compat.deepspeed import load_safely
from lightvit_mm.safe_load import RefusedError

from ..hostile import Bomb


class LossScaler:
    def __init__(self):
        self.cur_scale = 2.0


class DynamicLossScaler(LossScaler):
    pass


class ZeroStageEnum(int, enum.Enum):
    weights = 3


@dataclass
class fragment_address:
    numel: int


class TorchCheckpointEngine:
    def load(self, path, map_location=None):
        return torch.load(path, map_location=map_location, weights_only=False)


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    for name, classes in {
        'deepspeed': (),
        'deepspeed.runtime': (),
        'deepspeed.runtime.fp16': (),
        'deepspeed.runtime.fp16.loss_scaler': (LossScaler, DynamicLossScaler),
        'deepspeed.runtime.zero': (),
        'deepspeed.runtime.zero.config': (ZeroStageEnum,),
        'deepspeed.utils': (),
        'deepspeed.utils.tensor_fragment': (fragment_address,),
    }.items():
        module = ModuleType(name)
        module.__path__ = []
        for cls in classes:
            setattr(module, cls.__name__, cls)
            monkeypatch.setattr(cls, '__module__', name)
        monkeypatch.setitem(sys.modules, name, module)
    patched = type('TorchCheckpointEngine', (TorchCheckpointEngine,), {})
    load_safely(type('module', (), dict(TorchCheckpointEngine=patched)))
    return patched()


@pytest.mark.skipif(torch.__version__ < '2.6', reason='knows no safe classes')
def test_states_of_its_optimizers_are_read(engine, tmp_path):
    state = dict(
        scaler=[LossScaler(), DynamicLossScaler()],
        stage=ZeroStageEnum.weights,
        places={'weight': fragment_address(4)},
        weight=torch.ones(4),
    )
    torch.save(state, tmp_path / 'x.pt')
    content = engine.load(str(tmp_path / 'x.pt'), map_location='cpu')
    assert content['stage'] is ZeroStageEnum.weights
    assert content['places'] == state['places']
    assert [x.cur_scale for x in content['scaler']] == [2.0, 2.0]
    assert torch.equal(content['weight'], state['weight'])


def test_code_is_refused(engine, tmp_path):
    marker = tmp_path / 'marker'
    torch.save(dict(module=Bomb(marker)), tmp_path / 'x.pt')
    with pytest.raises(RefusedError, match='mkdir'):
        engine.load(str(tmp_path / 'x.pt'))
    assert not marker.exists()
