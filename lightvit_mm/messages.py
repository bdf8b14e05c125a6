"""Parts of messages: values, errors, lists, similar names, safe characters."""

import difflib
import reprlib
from collections.abc import Iterable, Sequence

_SHORT = reprlib.Repr()
_SHORT.maxdict = 10
_SHORT.maxstring = _SHORT.maxother = 80


def short(value: object) -> str:
    """A value as in code, in one line; long values are shortened in the middle."""
    return printable(' '.join(_SHORT.repr(value).split()))


def reason(error: Exception) -> str:
    """The message of an error in one line; its type if it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def listed(items: Iterable[object], most: int = 10) -> str:
    """Items in one line: the first ones and how many follow, or 'none'."""
    items = list(items)
    rest = f' and {len(items) - most} more' if len(items) > most else ''
    return (', '.join(map(str, items[:most])) or 'none') + rest


def close_to(name: str, known: Sequence[str]) -> str:
    """A clause that lists known names similar to a mistyped one, or ''."""
    matches = difflib.get_close_matches(name, known)
    return ' (close to it: ' + ', '.join(matches) + ')' if matches else ''


def printable(text: str) -> str:
    """A text with escaped control characters, so that it cannot control a terminal."""
    return ''.join(
        char if char.isprintable() or char in '\n\t' else ascii(char)[1:-1]
        for char in text
    )


def lines(texts: Iterable[str]) -> str:
    """One printable line for each text, such as a file name."""
    return '\n'.join(printable(text).replace('\n', '\\n') for text in texts)
