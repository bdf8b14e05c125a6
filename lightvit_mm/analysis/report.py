"""Tables as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """A table with a title.

    Args:
        title: Heading above the table.
        header: Column names.
        rows: Cells are text, numbers, or None for a missing value.
        notes: Paragraphs below the table.
    """

    title: str
    header: Sequence[str]
    rows: list[Sequence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self, level: int = 3) -> str:
        """The table in Markdown, with columns aligned so that it reads as text.

        Args:
            level: Level of the heading.
        """
        texts = [list(self.header)]
        texts += [[_text(cell) for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*texts)]
        lines = [
            '| '
            + ' | '.join(text.ljust(width) for text, width in zip(row, widths))
            + ' |'
            for row in texts
        ]
        lines.insert(1, '| ' + ' | '.join('-' * w for w in widths) + ' |')
        paragraphs = [f'{"#" * level} {self.title}', '\n'.join(lines), *self.notes]
        return '\n\n'.join(paragraphs) + '\n'


def _text(cell) -> str:
    if cell is None:
        return '–'
    return f'{cell:.4g}' if isinstance(cell, float) else str(cell)


def difference(ours: float | None, published: float | None) -> str:
    """``ours`` relative to ``published`` in per cent, or a dash if one is None."""
    if ours is None or published is None:
        return '–'
    return f'{ours / published - 1:+.1%}'
