"""The commands of README.md and docs/ are such as the tools take."""
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# Not ours: the set-up of an environment.
OTHERS = ('git', 'pip', 'source', 'export')


def commands():
    """(page, words) of each line of a bash block; lines may go on by \\."""
    for page in PAGES:
        for block in re.findall(r'```bash\n(.*?)```', page.read_text(), re.S):
            for line in block.replace('\\\n', ' ').splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] not in OTHERS:
                    yield pytest.param(words, id=f'{page.stem}: {line[:60]}')


def parse(tool, arguments, monkeypatch):
    """A tool's own reading of its arguments; SystemExit if they are wrong."""
    spec = importlib.util.spec_from_file_location(tool.stem, ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str((ROOT / tool).parent))
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    return module.parse_args()


@pytest.mark.parametrize('words', commands())
def test_command(words, monkeypatch):
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
