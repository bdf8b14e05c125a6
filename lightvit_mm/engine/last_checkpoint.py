"""Find the checkpoint from which a run is resumed."""

import logging
import os
import re
import string
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..safe_load import CheckpointError, RefusedError, check_sums, read

# mmengine's file with the path of the last checkpoint, in the work dir.
POINTER = 'last_checkpoint'


class RunFolders(NamedTuple):
    """Where a run keeps its checkpoints.

    Args:
        work_dir: The folder with ``last_checkpoint``.
        checkpoints: The folder with the checkpoints, usually the same.
        template: Their file names, with {} or a format such as {:03d} for the epoch
            or the iteration.
    """

    work_dir: Path
    checkpoints: Path
    template: str

    def find_all(self) -> list[Path]:
        """All checkpoints except the best ones, including those saved on signals."""
        templates = 'epoch_{}.pth', 'iter_{}.pth', self.template
        pattern = '|'.join(map(_pattern, templates))
        return self._matching(pattern)

    def find_best(self) -> list[Path]:
        """The best checkpoints, which have no optimizer state."""
        return self._matching(r'best_.*\.pth')

    def _matching(self, pattern: str) -> list[Path]:
        return [
            path
            for folder in dict.fromkeys((self.work_dir, self.checkpoints))
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if re.fullmatch(pattern, path.name)
        ]

    def find_named(self, text: str) -> Path | None:
        """The file that ``last_checkpoint`` names, preferably in the run's folders."""
        name = os.path.basename(text)
        places = self.work_dir / name, self.checkpoints / name, Path(text)
        exist = (path for path in places if os.path.exists(path))
        return next(exist, None) if name else None


def _pattern(template: str) -> str:
    """The regular expression of the names that a template gives."""
    return ''.join(
        re.escape(text) + (r'\d+' if field is not None else '')
        for text, field, _, _ in string.Formatter().parse(template)
    )


def run_folders(runner: Any) -> RunFolders:
    """Where a run keeps its checkpoints, before its training starts.

    Args:
        runner: The runner of mmengine.

    Raises:
        CheckpointError: If the name of the work dir is not UTF-8.
    """
    from mmengine.hooks import CheckpointHook  # Its patch imports this module.

    work_dir = Path(runner.work_dir)
    try:
        str(work_dir).encode()
    except UnicodeEncodeError:  # mmengine prints it, and PyTorch maps files in it.
        raise CheckpointError(
            f'The name of the work dir {str(work_dir)!r} is not UTF-8: rename it, or '
            'choose another one with --work-dir'
        ) from None
    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    hook = next(hooks, None)
    if hook is None:
        return RunFolders(work_dir, work_dir, 'epoch_{}.pth')
    is_elsewhere = hook.out_dir not in (None, runner.work_dir)
    folder = Path(hook.out_dir, work_dir.name) if is_elsewhere else work_dir
    return RunFolders(work_dir, folder, hook.filename_tmpl)


def remove(path: str, hook: Any) -> None:
    """Remove a checkpoint, if it exists.

    Args:
        path: The file, or the folder that DeepSpeed writes.
        hook: The CheckpointHook of the run.
    """
    backend = hook.file_backend
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):
        backend.rmtree(path)


def choose(folders: RunFolders, given: str | None = None) -> str | None:
    """Let the first process choose the checkpoint from which all processes resume.

    Args:
        folders: Where the run keeps its checkpoints.
        given: Path or address of a checkpoint that the user has chosen.

    Returns:
        ``given`` if there is one. Otherwise the last checkpoint that is not
        damaged, or None if there are no checkpoints.

    Raises:
        CheckpointError: If ``given`` or all checkpoints are damaged, or one may
            contain code.
    """
    answer = [None, None]
    if is_main_process():
        try:
            answer[0] = _checked(given) if given else _find(folders)
        except Exception as error:  # The other processes wait for the answer.
            answer[1] = error
    broadcast_object_list(answer)
    path, error = answer
    if error is not None:
        raise error
    return path


def _checked(path: str) -> str:
    if os.path.isfile(path):  # neither an address nor a folder of DeepSpeed
        _check(Path(path))
    return path


def _find(folders: RunFolders) -> str | None:
    pointer = folders.work_dir / POINTER
    text = ''
    if pointer.is_file():
        text = pointer.read_bytes().decode(errors='replace').strip()
        text = text.removeprefix('file://')
    if '://' in text:
        return text
    others = folders.find_all()
    last = folders.find_named(text)
    if last is None:
        if not text and not others:
            _say_that_it_starts(folders)
            return None
        if text:
            _warn(f'{pointer} names {text!r}, which does not exist')
        else:
            _warn(f'{pointer} is {"empty" if pointer.exists() else "missing"}')
    elif _is_good(last):
        return str(last)
    else:
        others = [path for path in others if path != last]
    return str(_newest_good(others, last, folders.work_dir))


def _say_that_it_starts(folders: RunFolders) -> None:
    start = 'the run starts at iteration 0'
    if best := folders.find_best():
        _warn(
            f'{best[0].parent} has only checkpoints without optimizer state, such as '
            f'{best[-1].name}: {start}; to use the weights of one, add --resume FILE'
        )
    else:
        message = f'{folders.work_dir} has no checkpoint: {start}'
        print_log(message, logger='current')


def _newest_good(paths: list[Path], damaged: Path | None, work_dir: Path) -> Path:
    """The checkpoint with the most iterations that is not damaged.

    Args:
        paths: All checkpoints that may be taken.
        damaged: The last one, which is damaged. Later ones are left out, because
            they may come from another run in the same folder.
        work_dir: The work dir.

    Raises:
        CheckpointError: If there is none.
    """
    metas = {path: meta for path in paths if (meta := _meta_if_good(path))}
    if number := damaged and re.fullmatch(r'(epoch|iter)_(\d+)\.pth', damaged.name):
        kind, limit = number[1], int(number[2])
        metas = {path: meta for path, meta in metas.items() if meta[kind] < limit}
    for path in sorted(metas, key=lambda path: metas[path]['iter'], reverse=True):
        if _is_good(path):
            _warn(f'The run resumes from {path}')
            return path
    raise CheckpointError(
        f'{work_dir} has no good checkpoint to resume from. Name one with --resume '
        'FILE, or train from the beginning in another folder with --work-dir'
    )


def _meta_if_good(path: Path) -> dict | None:
    """The epoch and iteration, or None if the file cannot be read."""
    try:
        return _meta(path)
    except (CheckpointError, OSError):
        _is_good(path)  # It says why not, or raises if the file may contain code.
        return None


def _is_good(path: Path) -> bool:
    try:
        _check(path)
    except RefusedError:
        raise
    except (CheckpointError, OSError) as error:
        _warn(str(error))
        return False
    return True


def _check(path: Path) -> None:
    if path.is_dir():
        if not any(path.glob('*_states.pt')):
            raise CheckpointError(f'{path} is a folder, but not a DeepSpeed checkpoint')
        return
    # The checksums come first, because damaged bytes can look like code.
    check_sums(path)
    _meta(path)


def _meta(path: Path) -> dict:
    content = read(path, 'cpu', mmap=True)
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(f'{path} is not a training checkpoint')
    return meta


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
