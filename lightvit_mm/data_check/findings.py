"""What was found, and how it is told."""

from collections.abc import Iterable
from typing import NamedTuple

MAX_EXAMPLES = 5  # that are told of a kind


class Kind(NamedTuple):
    """Something that may be wrong.

    Args:
        title: What it is, in the plural.
        remedy: What to do about it.
        is_fault: False for what the libraries cope with, or what cannot be
            told from the data alone: a note.
    """

    title: str
    remedy: str
    is_fault: bool = True


class Finding(NamedTuple):
    """Something found.

    Args:
        kind: What it is.
        file: Where it is.
        entry: Which entry of the file, and its values.
    """

    kind: Kind
    file: str
    entry: str


class Report:
    """Findings by split and kind, each kind told with a few examples."""

    def __init__(self) -> None:
        self.summaries: list[str] = []
        self._groups: dict[tuple[str, Kind], list[Finding]] = {}

    def add(self, split: str, findings: Iterable[Finding]) -> None:
        """Add what was found in a split, as 'train' or 'val, test'."""
        for finding in findings:
            self._groups.setdefault((split, finding.kind), []).append(finding)

    @property
    def findings(self) -> list[Finding]:
        return [x for group in self._groups.values() for x in group]

    @property
    def has_faults(self) -> bool:
        return any(kind.is_fault for _, kind in self._groups)

    def __str__(self) -> str:
        # Notes last, where they are read beside the result.
        groups = sorted(self._groups.items(), key=lambda item: not item[0][1].is_fault)
        parts = ['\n'.join(self.summaries)]
        parts += [_tell(*key, findings) for key, findings in groups]
        if not self.has_faults:
            parts.append(
                'nothing wrong found' + (' beside the notes above' if groups else '')
            )
        return '\n\n'.join(filter(None, parts))


def _tell(split: str, kind: Kind, findings: list[Finding]) -> str:
    label = 'FAULT' if kind.is_fault else 'NOTE'
    lines = [f'{label} in {split}: {kind.title} ({len(findings)})']
    lines += [f'  {x.file}: {x.entry}' for x in findings[:MAX_EXAMPLES]]
    if len(findings) > MAX_EXAMPLES:
        lines.append(f'  ... and {len(findings) - MAX_EXAMPLES} more')
    lines.append(f'  Remedy: {kind.remedy}.')
    return '\n'.join(lines)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in one line, 'none' or the first ones and how many follow."""
    names = list(names)
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return (', '.join(names[:most]) or 'none') + rest
