"""Tables read from Markdown."""


def tables_of(text):
    """The (header, rows) of each table; cells are texts."""
    tables = []
    previous = None
    for line in [*text.splitlines(), '']:
        line = line.strip()
        if not line.startswith('|'):
            previous = None
            continue
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if previous is None:
            previous = cells
        elif set(''.join(cells)) <= set('-: '):
            tables.append((previous, []))
        elif tables:
            tables[-1][1].append(cells)
    return tables
