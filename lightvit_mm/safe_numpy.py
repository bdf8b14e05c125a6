"""Stand-ins for what pickles of NumPy call: arrays, data types and scalars.

NumPy trusts pickles. A pickle can declare bytes of the file to be pointers to objects.
It can also set the values of an array twice, which frees those a tensor may still use.
"""

import math
import re
from typing import Any

import numpy as np

# Numbers, objects and text. The others, such as records and dates, are described by
# their state only, and nothing that OpenMMLab writes contains them.
_CODE = r'b1|[iufc]\d+|O8|[SU]\d+'


class NotAllowedError(Exception):
    """Raised if a pickle may carry code; the message names what it holds."""


class DType:
    """Stands for ``numpy.dtype``, and can be used in its place.

    Args:
        code: Such as ``f4``.
        align: Has no effect on these codes.
        copy: Has no effect.

    Attributes:
        dtype: The data type, which no pickle can change.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not re.fullmatch(_CODE, code):
            raise NotAllowedError(f'the NumPy data type {code}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        # The sizes and flags that follow are those of the code.
        version, order, *layout = state[:5]
        if version != 3 or layout != [None] * 3:
            raise NotAllowedError(f'a changed layout of the NumPy type {self.dtype}')
        self.dtype = self.dtype.newbyteorder(order)

    def __reduce__(self) -> tuple:
        return self.dtype.__reduce__()


class Array(np.ndarray):
    """Stands for ``numpy.ndarray``; a pickle can set its values only once."""

    _is_empty = False

    def __new__(cls) -> 'Array':
        """An array that has no values yet."""
        array = super().__new__(cls, 0)
        array._is_empty = True
        return array

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, is_fortran, values = state
        if not self._is_empty:
            raise NotAllowedError('a NumPy array that gets its values twice')
        # NumPy reads past the end of a list that is too short.
        if isinstance(values, list) and len(values) != math.prod(shape):
            raise NotAllowedError('a NumPy array with too few values')
        self._is_empty = False
        super().__setstate__((version, shape, dtype.dtype, is_fortran, values))

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _reconstruct(kind: type, shape: tuple, code: bytes | str) -> Array:
    # NumPy always writes ndarray, (0,) and b'b' here; the state has the real ones.
    return Array()


def _scalar(dtype: DType, *value: Any) -> Any:
    return _numpy_scalar(dtype.dtype, *value)


def _frombuffer(buffer: Any, dtype: DType, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype.dtype).reshape(shape, order=order).view(Array)


def _no_bytes() -> bytes:
    """Stands for ``bytes``, which protocol 2 calls for the values of an empty array."""
    return b''


_numpy_scalar = np.float64().__reduce__()[0]

# By module and name.
STAND_INS = {
    ('__builtin__', 'bytes'): _no_bytes,
    ('builtins', 'bytes'): _no_bytes,
    ('numpy', 'dtype'): DType,
    ('numpy', 'ndarray'): Array,
}
# NumPy 2 renamed the modules; a pickle has the names that its writer knew.
for _core in ('numpy.core', 'numpy._core'):
    STAND_INS[f'{_core}.multiarray', '_reconstruct'] = _reconstruct
    STAND_INS[f'{_core}.multiarray', 'scalar'] = _scalar
    STAND_INS[f'{_core}.numeric', '_frombuffer'] = _frombuffer
