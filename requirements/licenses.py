"""Updates the table of docs/licenses.md from the packages installed here.

Rows of pinned packages that are not installed here stay unchanged: each stack has
packages that the other lacks, and some are for one system or Python version only.
"""

import importlib.metadata
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/licenses.md'
HEAD = '| Package | Version | License |\n| --- | --- | --- |\n'
ROW = re.compile(r'\| (\S+) \| (\S+) \| (.+) \|\n')


def read_pins() -> dict[str, str]:
    """The pinned version of each package of both stacks."""
    locks = sorted((ROOT / 'requirements/locks').glob('*.txt'))
    text = ''.join(lock.read_text() for lock in locks)
    return dict(re.findall(r'^([\w-]+)==(\S+)', text, re.MULTILINE))


def license_of(name: str) -> str:
    """The license that the metadata of an installed package states, unchanged."""
    metadata = importlib.metadata.metadata(name)
    stated = metadata.get('License', '').strip()
    classifiers = [
        line.split(' :: ')[-1]
        for line in metadata.get_all('Classifier', [])
        if line.startswith('License :: ')
    ]
    if '\n' in stated:
        stated = 'text of a license'
    candidates = metadata.get('License-Expression'), '; '.join(classifiers), stated
    return next(filter(None, candidates), 'not stated')


def update(page: str) -> str:
    """The page with a table that lists exactly the pinned packages."""
    start, table = page.split(HEAD)
    rows = {name: (version, stated) for name, version, stated in ROW.findall(table)}
    pins = read_pins()
    for name, version in pins.items():
        try:
            if importlib.metadata.version(name) == version:
                rows[name] = version, license_of(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    lines = [f'| {name} | {" | ".join(rows[name])} |\n' for name in sorted(pins)]
    return start + HEAD + ''.join(lines)


if __name__ == '__main__':
    PAGE.write_text(update(PAGE.read_text()))
