"""Arrays in checkpoints and pickles: what is read, and what would harm the memory."""

import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.fileio import load
from mmengine.logging import HistoryBuffer

from lightvit_mm.safe_load import RefusedError, read

OBJECT = np.dtype('O')
RECONSTRUCT = np.empty(0).__reduce__()[0]


@pytest.fixture(autouse=True)
def protection(monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)


def read_checkpoint(folder, data):
    with zipfile.ZipFile(folder / 'x.pth', 'w') as archive:
        archive.writestr('archive/data.pkl', data)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')
    return read(folder / 'x.pth')


def read_pickle(folder, data):
    (folder / 'x.pkl').write_bytes(data)
    return load(folder / 'x.pkl')


reads_arrays = pytest.mark.skipif(
    torch.__version__ < '2.6', reason='its safe reader refuses arrays'
)
READERS = [pytest.param(read_checkpoint, marks=reads_arrays), read_pickle]


ARRAYS = [
    *(np.array([0, 1, 2]).astype(code) for code in '?bBhHiIlLqQefdgFDG'),
    np.arange(3, dtype='>i4'),
    np.arange(300, dtype='>f8'),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(5),
    np.empty((0, 4), np.float32),
    np.array(['a', 'bcd']),
    np.array(['a', 'bcd'], '>U3'),
    np.array([b'a', b'bcd']),
    np.array([[1, None], ['a', (2,)]], object),
]
SCALARS = [np.float32(0.5), np.int64(2), np.True_, np.str_('ab'), np.longdouble(2)]


@pytest.mark.parametrize('reader', READERS)
def test_arrays_and_scalars_are_read(tmp_path, reader):
    values = ARRAYS + SCALARS
    for value, again in zip(
        values, reader(tmp_path, pickle.dumps(values, 2)), strict=True
    ):
        np.testing.assert_array_equal(again, value)
        assert np.asarray(again).shape == value.shape
        # NumPy itself reads numbers of the other byte order as its own.
        assert again.dtype == pickle.loads(pickle.dumps(value, 2)).dtype


@pytest.mark.parametrize('reader', READERS)
def test_states_of_random_numbers_are_read(tmp_path, reader):
    generators = np.random.RandomState(1), np.random.RandomState(2)
    data = pickle.dumps(generators[0].get_state(), 2)
    generators[1].set_state(reader(tmp_path, data))
    assert generators[0].rand() == generators[1].rand()
    state = np.random.MT19937(1).state
    again = reader(tmp_path, pickle.dumps(state, 2))
    np.testing.assert_equal(again, state)


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('protocol', [2, 5])
def test_what_was_read_is_written_as_plain_arrays(tmp_path, reader, protocol):
    content = [np.arange(3.0), np.dtype('>f4')]
    again = reader(tmp_path, pickle.dumps(content, 2))
    array, dtype = pickle.loads(pickle.dumps(again, protocol))
    assert type(array) is np.ndarray and dtype == content[1]
    assert np.zeros(1, again[1]).dtype == content[1]


class Call:
    """Calls a function and sets a state when it is unpickled."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def dtype(code, *layout):
    return Call(np.dtype, (code, False, True), (3, '|', *layout))


def array(dtype, values=b'A' * 8):
    state = (1, (1,), dtype, False, values)
    return Call(RECONSTRUCT, (np.ndarray, (0,), b'b'), state)


def pickled(value):
    return pickle.dumps(value, 2)


def with_second_state(value, state):
    return pickled(value)[:-1] + pickled(state)[2:-1] + b'b.'


NO_FIELDS = (None, None, None, -1, -1, 0)
OBJECTS = ((OBJECT, (1,)), None, None, 8, 1, 0)
FIELDS = (None, ('a',), {'a': (OBJECT, 0)}, 8, 1, 0)
FORGED = {
    'objects': pickled(array(dtype('f8', *OBJECTS))),
    'objects in fields': pickled(array(dtype('f8', *FIELDS))),
    'objects in bytes': pickled(array(dtype('V8', *FIELDS))),
    'objects in a scalar': pickled(
        Call(np.float64().__reduce__()[0], (dtype('f8', *OBJECTS), b'A' * 8))
    ),
    'a larger type': pickled(
        array(dtype('f8', (np.dtype('f8'), (4000,)), None, None, 8, 1, 0))
    ),
    'a type that is changed later': with_second_state(
        dtype('f8', *NO_FIELDS), (3, '|', *OBJECTS)
    ),
    # A tensor or another array may share the first values, which NumPy frees.
    'values twice': with_second_state(
        np.arange(3.0), (1, (1,), np.dtype('f8'), False, b'A' * 8)
    ),
    'a list that is too short': pickled(
        Call(RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, (1,), OBJECT, False, []))
    ),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', FORGED)
def test_what_would_harm_the_memory_is_refused(tmp_path, reader, name):
    with pytest.raises(RefusedError, match='refused .* it holds .*NumPy') as error:
        reader(tmp_path, FORGED[name])
    assert '\n' not in str(error.value)


@reads_arrays
def test_a_forged_history_is_refused_before_it_copies_objects(tmp_path):
    values = array(dtype('f8', *OBJECTS))
    with pytest.raises(RefusedError, match='changed layout'):
        read_checkpoint(tmp_path, pickled(Call(HistoryBuffer, (values, values))))


@pytest.mark.parametrize('reader', READERS)
def test_arrays_are_not_made_from_what_a_file_shares(tmp_path, reader):
    data = pickled(Call(np.ndarray, ((1,), np.dtype('u1'), b'A')))
    with pytest.raises((RuntimeError, ValueError), match=r'Array\.__new__'):
        reader(tmp_path, data)


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('shape', [(-1,), (-2, -4), (2**62, 8), (2,) * 70])
def test_impossible_shapes_are_errors(tmp_path, reader, shape):
    state = (1, shape, np.dtype('u1'), False, b'A' * (math.prod(shape) % 16))
    data = pickled(Call(RECONSTRUCT, (np.ndarray, (0,), b'b'), state))
    with pytest.raises((RuntimeError, ValueError), match='cannot be read'):
        reader(tmp_path, data)
