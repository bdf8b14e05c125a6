"""Pickles and YAML files that mmengine reads execute nothing."""

import io
import math
import pickle
from contextlib import suppress

import numpy as np
import pytest
import torch
from mmengine.fileio import dump, load
from mmengine.structures import InstanceData

import lightvit_mm  # noqa: F401
from lightvit_mm.safe_load import RefusedError
from lightvit_mm.safe_pickle import _SAFE

from .hostile import Bomb

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.ones((2, 3), np.float32)),
    np.zeros(3, bool),
    np.array(['a', None], object),
    np.array(5),
]
TENSORS = [
    torch.arange(6.0).reshape(2, 3)[:, 1],
    torch.ones(2, dtype=torch.bfloat16),
    torch.tensor([True]),
]
PLAIN = {
    'rle': dict(size=[2, 3], counts=b'06'),
    'numbers': (1, 2.5, 1j, None, np.float64(3), np.int64(4)),
    'sets': ({1}, frozenset([2])),
    'types': (torch.float32, torch.Size([3]), torch.device('cpu')),
}


@pytest.fixture(autouse=True)
def marker(tmp_path, monkeypatch):
    """The folder that hostile files create if they are executed."""
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    yield tmp_path / 'marker'


class Storage:
    """A bomb where PyTorch stores the values of a tensor."""

    def __init__(self, marker):
        self.bomb = Bomb(marker)

    def __reduce__(self):
        buffer = io.BytesIO()
        torch.save(self.bomb, buffer, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (buffer.getvalue(),)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('protocol', range(2, 6))
def test_results_and_annotations_are_read(tmp_path, protocol):
    """The types of the results of test.py, proposals and annotations."""
    file = tmp_path / 'results.pkl'
    proposals = InstanceData(bboxes=ARRAYS[0], scores=TENSORS[0])
    content = [ARRAYS, TENSORS, PLAIN, dict(path=proposals)]
    dump(content, file, protocol=protocol)
    arrays, tensors, plain, results = load(file)
    for found, expected in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    for found, expected in zip(tensors, TENSORS, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert plain == PLAIN
    assert type(results['path']) is InstanceData
    assert results['path'].keys() == proposals.keys()
    np.testing.assert_array_equal(results['path'].bboxes, ARRAYS[0])


HOSTILE = {
    'function': lambda marker: Bomb(marker),
    'among tensors': lambda marker: [TENSORS, Bomb(marker)],
    'in an array': lambda marker: np.array([Bomb(marker)], object),
    'in a tensor': Storage,
    'eval': lambda marker: Call(eval, f'__import__("os").mkdir({str(marker)!r})'),
    'getattr': lambda marker: Call(getattr, dict, 'fromkeys'),
    'a model': lambda marker: torch.nn.Linear(1, 1),
}


@pytest.mark.parametrize('suffix', ['pkl', 'pickle'])
@pytest.mark.parametrize('name', HOSTILE)
def test_code_in_pickles_is_refused(tmp_path, marker, name, suffix):
    file = tmp_path / f'file.{suffix}'
    dump(HOSTILE[name](marker), file)
    with pytest.raises(RefusedError, match='it holds .*LIGHTVIT_MM_UNSAFE_LOAD=1'):
        load(file)
    assert not marker.exists()


@pytest.mark.parametrize('names', _SAFE)
def test_what_a_pickle_names_does_not_change(tmp_path, names):
    """A pickle can set attributes of classes and functions."""
    attributes = pickle.dumps((None, {'__doc__': 'changed', 'changed': 1}), 2)[2:-1]
    data = b'\x80\x02c' + '\n'.join(names).encode() + b'\n' + attributes + b'b.'
    (tmp_path / 'file.pkl').write_bytes(data)
    with suppress(ValueError):
        load(tmp_path / 'file.pkl')
    for value in (_SAFE[names], InstanceData, torch._utils._rebuild_tensor_v2):
        assert not hasattr(value, 'changed') and value.__doc__ != 'changed'


def test_the_message_names_what_was_refused(tmp_path, marker):
    dump(Bomb(marker), tmp_path / 'file.pkl')
    with (
        open(tmp_path / 'file.pkl', 'rb') as file,
        pytest.raises(RefusedError, match=r'/file\.pkl was .* holds posix\.mkdir\.'),
    ):
        load(file, file_format='pkl')


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'text',
        pickle.dumps(ARRAYS)[:-20],
        b'\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x04\0\0\0zlibtR.',
    ],
)
def test_damaged_pickles_are_value_errors(tmp_path, content):
    (tmp_path / 'file.pkl').write_bytes(content)
    with pytest.raises(ValueError, match='damaged or not a pickle'):
        load(tmp_path / 'file.pkl')


def test_yaml_is_read(tmp_path):
    content = dict(a=[1, 2.5, None, True], b=(1, (2, 'x')), c=math.inf)
    dump(content, tmp_path / 'file.yaml')
    assert load(tmp_path / 'file.yaml') == content


@pytest.mark.parametrize(
    'tag', ['object/apply:os.mkdir', 'object/new:os.mkdir', 'name:os.mkdir']
)
@pytest.mark.parametrize('suffix', ['yaml', 'yml'])
def test_code_in_yaml_is_refused(tmp_path, marker, tag, suffix):
    file = tmp_path / f'file.{suffix}'
    value = '""' if tag.startswith('name') else f'[{marker}]'
    file.write_text(f'a: !!python/{tag} {value}')
    with pytest.raises(RefusedError, match=f'holds !!python/{tag}'):
        load(file)
    assert not marker.exists()


@pytest.mark.parametrize('text', ['a: [', '[' * 5000, 'a: !unknown x', '{[1]: 2}'])
def test_what_is_no_yaml_is_a_value_error(tmp_path, text):
    (tmp_path / 'file.yml').write_text(text)
    with pytest.raises(ValueError, match='is not YAML'):
        load(tmp_path / 'file.yml')


@pytest.mark.parametrize('suffix', ['pkl', 'yml'])
def test_code_is_executed_only_on_demand(tmp_path, marker, monkeypatch, suffix):
    file = tmp_path / f'file.{suffix}'
    if suffix == 'pkl':
        dump(Bomb(marker), file)
    else:
        file.write_text(f'!!python/object/apply:os.mkdir [{marker}]')
    monkeypatch.setenv('LIGHTVIT_MM_UNSAFE_LOAD', '1')
    load(file)
    assert marker.is_dir()
