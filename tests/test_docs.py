"""The commands of README.md and docs/ are such as the tools take, and run.

To run them takes minutes: `make commands` does, `make test` does not.
"""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from .processes import check, free_port
from .user import Folder

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# Not ours: the set-up of an environment.
OTHERS = ('git', 'pip', 'source', 'export')


def commands(page):
    """Each line of a bash block; lines may go on by \\."""
    for block in re.findall(r'```bash\n(.*?)```', page.read_text(), re.S):
        for line in block.replace('\\\n', ' ').splitlines():
            if line.strip() and line.split()[0] not in OTHERS:
                yield ' '.join(line.split())


def parse(tool, arguments, monkeypatch):
    """A tool's own reading of its arguments; SystemExit if they are wrong."""
    spec = importlib.util.spec_from_file_location(tool.stem, ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str((ROOT / tool).parent))
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    return module.parse_args()


@pytest.mark.parametrize(
    'line',
    [
        pytest.param(line, id=f'{page.stem}: {line[:60]}')
        for page in PAGES
        for line in commands(page)
    ],
)
def test_command(line, monkeypatch):
    words = shlex.split(line, comments=True)
    while '=' in words[0]:  # VARIABLE=value before the command
        words = words[1:]
    if words[0] == 'make':
        targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M)
        assert words[1] in targets
        return
    if words[:2] == ['python', '-m']:
        assert importlib.util.find_spec(words[2]) is not None
        return
    script, *arguments = words[1:] if words[0] == 'python' else words
    assert (ROOT / script).is_file()
    for word in arguments:
        if word.startswith('configs/'):
            Config.fromfile(ROOT / word)
    if script.endswith('.sh'):
        # dist_test.sh CONFIG CHECKPOINT GPUS, dist_train.sh CONFIG GPUS
        tool = script.split('_')[-1].replace('.sh', '.py')
        num_gpus = 2 if tool == 'test.py' else 1
        arguments.pop(num_gpus)
        script = f'tools/{tool}'
    parse(Path(script), arguments, monkeypatch)


def pages_to_run():
    """Without `make`, which CI runs itself, and without a training twice."""
    trained = set()
    for page in PAGES:
        lines = [
            line
            for line in commands(page)
            if line not in trained and not line.startswith('make')
        ]
        trained.update(
            line for line in lines if re.match(r'(python )?tools/(dist_)?train', line)
        )
        if lines:
            yield pytest.param(lines, id=page.stem)


@pytest.mark.commands
@pytest.mark.parametrize('lines', list(pages_to_run()))
def test_page(lines, digits, tmp_path):
    """In their order, in one folder, as a reader does it."""
    folder = Folder(tmp_path, digits)
    for line in lines:
        line = folder.complete(line)
        print('$', line, flush=True)
        check(['bash', '-c', line], tmp_path, PORT=free_port(), **folder.environment)
