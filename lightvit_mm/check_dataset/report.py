"""Findings, and the report that lists them."""

from collections.abc import Iterable
from typing import NamedTuple

MAX_EXAMPLES = 5  # shown per kind


class Kind(NamedTuple):
    """A kind of fault.

    Args:
        title: What it is, in the plural.
        fix: How to fix it.
        is_fault: False for a note: the libraries cope with it, or the data
            do not show whether it is wrong.
    """

    title: str
    fix: str
    is_fault: bool = True


class Finding(NamedTuple):
    """A fault in the data.

    Args:
        kind: What it is.
        file: Where it is.
        entry: Which entry of the file, and its values.
    """

    kind: Kind
    file: str
    entry: str


class Report:
    """Findings by split and kind; as text, each kind with a few examples.

    Attributes:
        summaries: One line per split.
        tables: What the datasets hold.
    """

    def __init__(self) -> None:
        self.summaries: list[str] = []
        self.tables: list[str] = []
        self._groups: dict[tuple[str, Kind], list[Finding]] = {}

    def add(self, splits: str, findings: Iterable[Finding]) -> None:
        """Add the findings of some splits, such as 'train' or 'val, test'."""
        for finding in findings:
            self._groups.setdefault((splits, finding.kind), []).append(finding)

    @property
    def findings(self) -> list[Finding]:
        """All findings, in groups of the same splits and kind."""
        return [x for group in self._groups.values() for x in group]

    @property
    def has_faults(self) -> bool:
        """Whether a finding is more than a note."""
        return any(kind.is_fault for _, kind in self._groups)

    def __str__(self) -> str:
        # Notes come last, next to the result.
        groups = sorted(self._groups.items(), key=lambda item: not item[0][1].is_fault)
        parts = ['\n'.join(self.summaries), *self.tables]
        parts += [_describe(*key, findings) for key, findings in groups]
        if not self.has_faults:
            parts.append(
                'no faults found' + (', only the notes above' if groups else '')
            )
        return '\n\n'.join(filter(None, parts))


def _describe(splits: str, kind: Kind, findings: list[Finding]) -> str:
    label = 'FAULT' if kind.is_fault else 'NOTE'
    lines = [f'{label} in {splits}: {kind.title} ({len(findings)})']
    lines += [f'  {x.file}: {x.entry}' for x in findings[:MAX_EXAMPLES]]
    if len(findings) > MAX_EXAMPLES:
        lines.append(f'  ... and {len(findings) - MAX_EXAMPLES} more')
    lines.append(f'  Fix: {kind.fix}.')
    return '\n'.join(lines)
