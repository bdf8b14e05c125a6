"""Checks of the arguments of the classes that a config names.

Each class lists the kinds of its arguments once, in :func:`checked`. All errors have
the form "CLASS: NAME=VALUE should be ...".
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .messages import close_to, short

F = TypeVar('F', bound=Callable)


class Kind(NamedTuple):
    """What a value should be.

    Args:
        expected: The words after "should be" in an error.
        accepts: Whether a value is of this kind.
        convert: Converts an accepted value to the type that the class expects.
    """

    expected: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def integer(least: float = -math.inf, most: float = math.inf) -> Kind:
    """A Python or NumPy integer; bools and floats such as 7.0 do not count."""
    limits = [f'>= {least}'] * (least > -math.inf) + [f'<= {most}'] * (most < math.inf)
    return Kind(
        f'an integer {" and ".join(limits)}'.rstrip(),
        lambda value: _is_number(value, Integral) and least <= value <= most,
        int,
    )


def number(expected: str, fits: Callable[[float], bool]) -> Kind:
    """A finite number that fits a condition."""
    return Kind(
        expected,
        lambda value: _is_number(value, Real) and _is_finite(value) and fits(value),
        float,
    )


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def one_of(*values: str | int) -> Kind:
    """One of a few strings or integers."""
    return Kind(
        ' or '.join(map(repr, values)),
        lambda value: (
            (isinstance(value, str) or _is_number(value, Integral)) and value in values
        ),
        lambda value: values[values.index(value)],
    )


def each(kind: Kind, least: int = 1) -> Kind:
    """A list, tuple or array of entries of one kind; it is converted to a tuple."""

    def accepts(value: Any) -> bool:
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        is_list |= isinstance(value, np.ndarray) and value.ndim == 1
        return is_list and len(value) >= least and all(map(kind.accepts, value))

    return Kind(
        f'a list, each entry {kind.expected}',
        accepts,
        lambda value: tuple(map(kind.convert, value)),
    )


def optional(kind: Kind) -> Kind:
    """A kind, or None."""
    return Kind(
        f'{kind.expected}, or None',
        lambda value: value is None or kind.accepts(value),
        lambda value: None if value is None else kind.convert(value),
    )


FLAG = Kind('True or False', lambda value: isinstance(value, (bool, np.bool_)), bool)
TEXT = Kind('a string', lambda value: isinstance(value, str))
DICT = Kind('a dict', lambda value: isinstance(value, dict))
CONFIG = Kind("a dict with the key 'type'", lambda x: DICT.accepts(x) and 'type' in x)
SECONDS = number(
    'a positive number of seconds, at most 1e9', lambda value: 0 < value <= 1e9
)
INIT_CFG = Kind(
    "a dict with the key 'type', a list of them, or None",
    # mmengine treats an empty dict like None.
    lambda value: (
        value is None
        or (DICT.accepts(value) and not value)
        or CONFIG.accepts(value)
        or each(CONFIG, least=0).accepts(value)
    ),
)


def require(owner: str, is_valid: bool, given: str, expected: str) -> None:
    """Raise a ValueError unless an argument of a class is valid."""
    if not is_valid:
        raise ValueError(f'{owner}: {given} should be {expected}')


def check(
    owner: str, values: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    """Check values and convert them; those without a kind stay as they are.

    Args:
        owner: The class that gets the values.
        values: Values by name.
        kinds: Kinds by name.

    Raises:
        ValueError: If a value is of another kind.
    """
    checked = dict(values)
    for name, value in values.items():
        if name in kinds:
            kind = kinds[name]
            given = f'{name}={short(value)}'
            require(owner, kind.accepts(value), given, kind.expected)
            checked[name] = kind.convert(value)
    return checked


def reject_unknown(owner: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise a TypeError that lists the arguments of a class if any is unknown.

    Python's own error names the wrong argument, but not the known ones, and editors
    do not complete names in configs.
    """
    for name in names:
        if name not in known:
            raise TypeError(
                f'{owner} has no argument {name!r}{close_to(name, known)}; it takes '
                f'{", ".join(known) or "none"}'
            )


def checked(**kinds: Kind) -> Callable[[F], F]:
    """Check the arguments of a function or an ``__init__`` before it runs.

    An ``__init__`` with ``**kwargs`` also takes the arguments of the base classes.

    Args:
        kinds: Kinds by argument name. Other arguments are not checked.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        owner = function.__qualname__.partition('.')[0]

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            known = _names(function, *_inits_above(args, owner))
            reject_unknown(owner, kwargs, known)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f'{owner}: {error}') from None
            positional = check(owner, dict(zip(signature.parameters, args)), kinds)
            return function(*positional.values(), **check(owner, kwargs, kinds))

        return wrapper

    return decorate


def _inits_above(args: Sequence[Any], owner: str) -> list[Callable]:
    """The ``__init__`` of each base class of the class ``owner``."""
    classes = type(args[0]).__mro__ if args else ()
    names = [cls.__name__ for cls in classes]
    above = classes[names.index(owner) + 1 :] if owner in names else ()
    return [cls.__init__ for cls in above]


def _names(*functions: Callable) -> list[str]:
    """Arguments of functions that pass their ``**kwargs`` to the next one."""
    names: list[str] = []
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        kinds = [parameter.kind for parameter in parameters]
        names += [
            parameter.name
            for parameter in parameters
            if parameter.kind
            in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return [name for name in dict.fromkeys(names) if name != 'self']
