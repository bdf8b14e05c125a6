"""Names of classes that look as if they should be ignored."""

import re
from collections.abc import Iterator

from .report import Finding, Kind
from .sources import Content, Source

LEARNED = Kind(
    'classes that are learned, though their names suggest pixels to ignore',
    'Go on if they are classes. If not, leave them out of the classes; in '
    "classes.txt, write 'void', in lower case, for values to ignore, and VALUE: NAME "
    'in all lines or in none',
    is_fault=False,
)

_IGNORED = re.compile(
    r'void|ignored?|ignore[ _-]?(label|regions?)|ignored[ _-]?regions?|unlabell?ed'
    r"|don'?t[ _-]?care|(\d+|#[0-9a-f]{6})\s*:.*",
    re.IGNORECASE,
)
# A value in another notation than '255: void', such as '255 void' or 'void, 255'.
_VALUE = re.compile(r'^[\W\d]+|[\W\d]+$')


def check_class_names(source: Source, content: Content) -> Iterator[Finding]:
    """Find learned classes that are named void, ignore, unlabelled or 255: x."""
    for label, name in enumerate(content.classes or ()) if source.is_trained else ():
        word = _VALUE.sub('', str(name))
        if _IGNORED.fullmatch(str(name).strip()) or _IGNORED.fullmatch(word):
            yield Finding(LEARNED, source.file, f'class {label} is {name!r}')
