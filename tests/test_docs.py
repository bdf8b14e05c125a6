"""The commands and snippets of the documents are correct, and they run.

Running them takes minutes: `make test-docs` does, `make test` does not.
"""

import importlib
import importlib.util
import pkgutil
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from mmengine.config import Config

from lightvit_mm import check_dataset
from lightvit_mm.check_dataset.report import Kind

from .processes import check, free_port, serving
from .user import Folder

ROOT = Path(__file__).parents[1]
README, CHINESE = ROOT / 'README.md', ROOT / 'README_zh-CN.md'
DESIGN = ROOT / 'docs/design.md'
PAGES = [*sorted((ROOT / 'docs').rglob('*.md')), README, CHINESE]
# Not ours: the set-up of an environment.
OTHERS = ('git', 'cd', 'pip', 'source', 'export')


class Step(NamedTuple):
    """A command or a snippet of a page.

    Args:
        language: 'bash' or 'python'.
        text: One line of bash, or a whole Python block.
    """

    language: str
    text: str


def steps(page):
    """The steps of a page in their order; a bash line may continue after \\."""
    blocks = re.findall(r'```(bash|python)\n(.*?)```', page.read_text(), re.S)
    for language, block in blocks:
        if language == 'python':
            yield Step(language, textwrap.dedent(block))
            continue
        for line in block.replace('\\\n', ' ').splitlines():
            if line.strip() and line.split()[0] not in OTHERS:
                yield Step(language, ' '.join(line.split()))


def commands(page):
    return [step.text for step in steps(page) if step.language == 'bash']


def name(page):
    return str(page.relative_to(ROOT).with_suffix(''))


def parse(tool, arguments, monkeypatch):
    """The arguments as the tool itself parses them; SystemExit if it refuses."""
    spec = importlib.util.spec_from_file_location(tool.stem, ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str((ROOT / tool).parent))
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    return module.parse_args()


def distinct_commands():
    """Each distinct command, with the first page that has it."""
    pages = {line: page for page in reversed(PAGES) for line in commands(page)}
    for line, page in sorted(pages.items(), key=lambda item: PAGES.index(item[1])):
        yield pytest.param(line, id=f'{name(page)}: {line[:60]}')


@pytest.mark.parametrize('line', list(distinct_commands()))
def test_tool_accepts_command(line, monkeypatch):
    # predict.py tells images from checkpoints by their names.
    line = re.sub(r'\$IMAGES?\b', 'photo.jpg', line)
    words = shlex.split(line, comments=True)
    while '=' in words[0]:  # VARIABLE=value before the command
        words = words[1:]
    if words[0] == 'make':
        targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M)
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
    """Each distinct step once, on the first page that has it.

    A step that needs the output of another must stand on the first page of both.
    `make` is left out: CI calls it.
    """
    seen = set()
    for page in PAGES:
        new = [
            step
            for step in dict.fromkeys(steps(page))
            if step not in seen and not step.text.startswith('make')
        ]
        seen.update(new)
        if new:
            yield pytest.param(new, id=name(page))


@pytest.mark.commands
@pytest.mark.parametrize('new', list(pages_to_run()))
def test_page_runs(new, digits, tmp_path):
    """In the order of the page, in one folder, as a reader does it."""
    folder = Folder(tmp_path, digits)
    for language, text in new:
        print('$', text, flush=True)
        variables = dict(folder.environment, PORT=free_port())
        if language == 'python':
            command = ['python', '-c', text]
        else:
            # -u: a placeholder that has no value is an error.
            command = ['bash', '-uc', folder.shorten(text)]
            variables.update(folder.placeholders(text))
        if 'tools/app.py' in text:
            command[-1] = f'exec {command[-1]}'  # so that it gets the signal
            with serving(command, tmp_path, **variables) as (address, _):
                assert b'gradio' in urlopen(address).read()
            continue
        check(command, tmp_path, **variables)


def test_both_readmes_have_the_same_steps():
    assert list(steps(CHINESE)) == list(steps(README))


def test_readmes_link_to_each_other():
    for page, other in ((README, CHINESE), (CHINESE, README)):
        assert f']({other.name})' in page.read_text()[:400]


@pytest.mark.parametrize('page', [README, CHINESE], ids=name)
def test_links_of_readme_exist(page):
    """mkdocs checks those of docs/."""
    targets = re.findall(r'\]\(([^)#]+)', page.read_text())
    files = [target for target in targets if '://' not in target]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_design_page_lists_every_module_of_the_package_root():
    block = re.search(r'```text\n(.*?)```', DESIGN.read_text(), re.S)[1]
    listed = re.search(r'^lightvit_mm/\n((?:  .*\n)+)', block, re.M)[1]
    names = re.findall(r'^  ([\w./]+)', listed, re.M)
    package = ROOT / 'lightvit_mm'
    there = {path.name for path in package.glob('*.py')}
    there |= {f'{path.parent.name}/' for path in package.glob('*/__init__.py')}
    assert sorted(names) == sorted(there)


def pinned_versions():
    """The versions of each distribution that a tested stack pins."""
    pins = {}
    for stack in (ROOT / 'requirements/stacks').glob('*.txt'):
        for package, version in re.findall(
            r'^([\w-]+)==([\w.]+)', stack.read_text(), re.M
        ):
            pins.setdefault(package.lower(), set()).add(version)
    return pins


def measurements(page):
    """The paragraphs that say with which versions something was measured."""
    for paragraph in page.read_text().split('\n\n'):
        if re.search(r'\bmeasured (on|with)\b|实测', paragraph, re.I):
            yield ' '.join(paragraph.split())


def quoted_versions(paragraph, packages):
    """Its (distribution, version) pairs, without local parts such as +cu130.

    A number with one dot is a version only if it follows the name of a package.
    """
    for package, version in re.findall(r'([A-Za-z][\w-]*) (\d+(?:\.\d+)+)', paragraph):
        package = {'pytorch': 'torch'}.get(package.lower(), package.lower())
        if package in packages or version.count('.') > 1:
            yield package, version


def test_measurements_quote_versions_of_a_tested_stack():
    """The raw tables below docs/ keep the versions that were really used."""
    pins = pinned_versions()
    quoted = [
        (name(page), package, version)
        for page in [README, CHINESE, *(ROOT / 'docs').glob('*.md')]
        for paragraph in measurements(page)
        for package, version in quoted_versions(paragraph, pins)
    ]
    assert {'README', 'README_zh-CN', 'docs/speed'} <= {page for page, *_ in quoted}
    untested = {
        (page, package, version)
        for page, package, version in quoted
        if version not in pins.get(package, ())
    }
    assert untested == set()


def test_check_dataset_page_shows_what_the_tool_prints():
    """Titles and fixes of its sample are those of the package."""
    modules = [
        importlib.import_module(f'{check_dataset.__name__}.{module.name}')
        for module in pkgutil.iter_modules(check_dataset.__path__)
    ]
    kinds = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Kind)
    }
    page = (ROOT / 'docs/check_dataset.md').read_text()
    sample = re.search(r'```text\n(.*?)```', page, re.S)[1]
    titles = re.findall(r'^(?:FAULT|NOTE) in .*?: (.*) \(\d+\)$', sample, re.M)
    fixes = re.findall(r'^  Fix: (.*)\.$', sample, re.M)
    assert len(titles) == len(fixes) == 3
    assert set(zip(titles, fixes)) <= {kind[:2] for kind in kinds}
