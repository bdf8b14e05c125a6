"""--resume takes the last checkpoint that is good, and says what it skips."""

import os
import random
import shutil
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from lightvit_mm.engine.last_checkpoint import RunFolders, choose
from lightvit_mm.safe_load import CheckpointError, RefusedError

from ..processes import free_port
from ..toy import make_runner


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A work dir after three epochs."""
    folder = tmp_path_factory.mktemp('trained')
    make_runner(folder, max_epochs=3, checkpoint=dict(save_best=None)).train()
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy whose last_checkpoint names files in the original."""
    shutil.copytree(trained, tmp_path / 'run')
    return tmp_path / 'run'


def find(folder, template='epoch_{}.pth'):
    return choose(RunFolders(folder, folder, template))


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_weight(path):
    """torch.load does not see it."""
    bias = torch.load(path, weights_only=False)['state_dict']['layer.bias']
    position = path.read_bytes().index(bias.numpy().tobytes())
    flip(path, position)
    changed = torch.load(path, weights_only=False)['state_dict']['layer.bias']
    assert not changed.equal(bias)


DAMAGES = dict(
    empty=lambda path: path.write_bytes(b''),
    truncated=truncate,
    text=lambda path: path.write_text('<html>404</html>'),
    weight=flip_a_weight,
    other=lambda path: torch.save(torch.ones(3), path),
)


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(damage, folder, log):
    DAMAGES[damage](folder / 'epoch_3.pth')
    assert find(folder) == str(folder / 'epoch_2.pth')
    damaged, taken = [record.getMessage() for record in log.records]
    assert damaged.startswith(str(folder / 'epoch_3.pth'))
    assert taken == f'The run resumes from {folder / "epoch_2.pth"}'


def test_no_flipped_bit_passes(folder):
    """torch.load reads most of such files as if they were good."""
    path = folder / 'epoch_3.pth'
    good = path.read_bytes()
    expected = torch.load(path, weights_only=False)
    numbers = random.Random(0)
    found = []
    for _ in range(50):
        path.write_bytes(good)
        flip(path, numbers.randrange(len(good)))
        found.append(Path(find(folder)).name)
        if found[-1] == path.name:  # The bit was in padding or a date.
            again = torch.load(path, weights_only=False)
            assert_equal(again, expected)
    assert found.count('epoch_2.pth') > 25


def assert_equal(one, other):
    assert str(one['meta']) == str(other['meta'])
    assert str(one['optimizer']) == str(other['optimizer'])
    for name, value in one['state_dict'].items():
        assert value.equal(other['state_dict'][name])


def test_two_damaged_ones_are_skipped(folder, log):
    truncate(folder / 'epoch_2.pth')
    truncate(folder / 'epoch_3.pth')
    assert find(folder) == str(folder / 'epoch_1.pth')
    assert [name in log.text for name in ('epoch_2', 'epoch_3')] == [True, True]


@pytest.mark.parametrize('given', [False, True])
def test_a_run_without_a_good_checkpoint_does_not_start(given, folder):
    for path in folder.glob('epoch_*'):
        truncate(path)
    before = {path: path.read_bytes() for path in folder.glob('epoch_*')}
    path = str(folder / 'epoch_3.pth') if given else None
    runner = make_runner(folder, resume=True, load_from=path)
    reason = 'epoch_3.pth is truncated' if given else 'no good checkpoint'
    with pytest.raises(CheckpointError, match=reason):
        runner.train()
    assert {path: path.read_bytes() for path in folder.glob('epoch_*')} == before


def test_a_published_model_has_no_training_to_resume(folder):
    (folder / 'SHA256SUMS').write_text('0  config.py\n0  model.safetensors\n')
    for given in (str(folder), 'hf://OWNER/NAME'):
        with pytest.raises(CheckpointError, match='set load_from=') as error:
            choose(RunFolders(folder, folder, 'epoch_{}.pth'), given)
        assert str(error.value).startswith(f'{given} is a published model')


def test_a_given_file_is_taken_or_refused_but_never_replaced(folder):
    places = RunFolders(folder, folder, 'epoch_{}.pth')
    good = str(folder / 'epoch_1.pth')
    assert choose(places, good) == good
    flip_a_weight(Path(good))
    with pytest.raises(CheckpointError, match=r'epoch_1.pth is damaged: .* checksum'):
        choose(places, good)
    # mmengine reads these, or says that there is no such file.
    for address in ('https://host/epoch_1.pth', str(folder / 'epoch_9.pth')):
        assert choose(places, address) == address


POINTERS = {
    'is missing': None,
    'is empty': b'\n',
    'which does not exist': b'/elsewhere/epoch_9.pth',
    'names ': b'\0\0\0',
}


@pytest.mark.parametrize('reason', POINTERS)
def test_without_a_usable_last_checkpoint_the_newest_is_taken(reason, folder, log):
    content = POINTERS[reason]
    (folder / 'last_checkpoint').unlink()
    if content is not None:
        (folder / 'last_checkpoint').write_bytes(content)
    # A name with more digits that is older, and one that a signal saved later.
    os.rename(folder / 'epoch_1.pth', folder / 'epoch_10.pth')
    shutil.copy(folder / 'epoch_3.pth', folder / 'iter_6.pth')
    content = torch.load(folder / 'epoch_3.pth', weights_only=False)
    content['meta']['iter'] += 1
    torch.save(content, folder / 'iter_7.pth')
    for name in ('best_score_epoch_9.pth', 'epoch_9-0a1b2c3d.pth'):
        torch.save(content, folder / name)
    assert find(folder) == str(folder / 'iter_7.pth')
    assert reason in log.text and 'iter_7.pth' in log.text


@pytest.mark.parametrize('template', ['ckpt-{:03d}.pth', '{0}.of{{3}}.pth'])
@pytest.mark.parametrize('is_damaged', [False, True])
def test_names_with_a_format_are_found(is_damaged, template, folder):
    """If last_checkpoint is missing, or names a damaged file."""
    for epoch in (1, 2, 3):
        os.rename(folder / f'epoch_{epoch}.pth', folder / template.format(epoch))
    pointer = folder / 'last_checkpoint'
    pointer.unlink()
    if is_damaged:
        pointer.write_text(template.format(3))
        truncate(folder / template.format(3))
    expected = template.format(2 if is_damaged else 3)
    assert find(folder, template) == str(folder / expected)


@pytest.mark.parametrize('name', ['.', '..', '/', 'epoch_3.pth'])
def test_a_folder_is_no_checkpoint(name, folder, log):
    (folder / 'last_checkpoint').write_text(name)
    if name == 'epoch_3.pth':
        (folder / name).unlink()
        (folder / name).mkdir()
    expected = 'epoch_2.pth' if name == 'epoch_3.pth' else 'epoch_3.pth'
    assert find(folder) == str(folder / expected)


def test_a_folder_of_deepspeed_is_a_checkpoint(folder):
    saved = folder / 'epoch_4.pth'
    saved.mkdir()
    (saved / 'mp_rank_00_model_states.pt').touch()
    (folder / 'last_checkpoint').write_text(str(saved))
    assert find(folder) == str(saved)


def test_an_address_of_a_local_file_is_a_path(folder):
    text = f'file://{folder}/epoch_2.pth'
    (folder / 'last_checkpoint').write_text(text)
    assert find(folder) == str(folder / 'epoch_2.pth')


def test_best_checkpoints_alone_are_named(folder, log):
    for path in [*folder.glob('epoch_*'), folder / 'last_checkpoint']:
        path.unlink()
    (folder / 'best_score_epoch_2.pth').touch()
    assert find(folder) is None
    assert 'optimizer state, such as best_score_epoch_2.pth: the run' in log.text


@pytest.mark.parametrize('resume', [False, True])
def test_a_work_dir_whose_name_is_not_utf8_is_refused(resume, tmp_path):
    runner = make_runner(tmp_path / os.fsdecode(b'run\xff'), resume=resume)
    with pytest.raises(CheckpointError, match=r"run.udcff' is not UTF-8: rename it"):
        runner.train()
    assert runner.iter == 0


def test_checkpoints_of_another_run_are_not_taken(folder):
    """Ones that are later than the damaged one."""
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    truncate(folder / 'epoch_2.pth')
    assert find(folder) == str(folder / 'epoch_1.pth')


@pytest.mark.parametrize('original_exists', [True, False])
def test_a_work_dir_that_was_moved_resumes_from_its_own_file(
    original_exists, folder, tmp_path
):
    """As an uninterrupted run ends."""
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    moved = tmp_path / 'moved'
    shutil.copytree(folder, moved)
    if original_exists:
        truncate(folder / 'epoch_2.pth')
    else:
        shutil.rmtree(folder)
    expected = torch.load(moved / 'epoch_3.pth', weights_only=False)
    (moved / 'epoch_3.pth').unlink()
    make_runner(moved, resume=True, max_epochs=3).train()
    again = torch.load(moved / 'epoch_3.pth', weights_only=False)
    for name, value in again['state_dict'].items():
        assert value.equal(expected['state_dict'][name])


def test_a_work_dir_without_checkpoints_starts_from_the_start(tmp_path):
    runner = make_runner(tmp_path, resume=True)
    runner.train()
    assert runner.iter == 4 and (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('pointer', [True, False])
def test_checkpoints_in_another_folder_are_found(pointer, tmp_path):
    settings = dict(out_dir=str(tmp_path / 'big_disk'), filename_tmpl='e{}.pth')
    make_runner(tmp_path / 'run', checkpoint=settings).train()
    if not pointer:
        (tmp_path / 'run/last_checkpoint').unlink()
    folder = tmp_path / 'big_disk/run'
    before = (folder / 'e1.pth').read_bytes()
    make_runner(
        tmp_path / 'run', checkpoint=settings, resume=True, max_epochs=3
    ).train()
    assert (folder / 'e3.pth').exists()
    # A run from the start would write the time and its name into it.
    assert (folder / 'e1.pth').read_bytes() == before


class Code:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.skipif(torch.__version__ < '2.6', reason='refuses all of them')
def test_a_checkpoint_with_code_is_an_error_not_damage(folder, monkeypatch):
    monkeypatch.delenv('LIGHTVIT_MM_UNSAFE_LOAD', raising=False)
    torch.save(Code(), folder / 'epoch_3.pth')
    for _ in range(2):
        with pytest.raises(RefusedError, match=r'epoch_3.pth was refused'):
            find(folder)
        (folder / 'last_checkpoint').unlink(missing_ok=True)


def choose_in_process(rank, folders, port, answers):
    torch.distributed.init_process_group(
        'gloo', f'tcp://127.0.0.1:{port}', world_size=2, rank=rank
    )
    for folder in folders:
        try:
            answer = find(folder)
        except CheckpointError as error:
            answer = str(error)
        answers.put((rank, answer))
    torch.distributed.barrier()


def test_all_processes_follow_the_first(folder, tmp_path):
    """One process may see a folder that is not up to date, as on NFS."""
    bad, empty = tmp_path / 'bad', tmp_path / 'empty'
    shutil.copytree(folder, bad)
    for path in bad.glob('epoch_*'):
        truncate(path)
    views = [folder, bad, empty], [empty, folder, bad]
    context = torch.multiprocessing.get_context('fork')
    answers = context.SimpleQueue()
    port = free_port()
    processes = [
        context.Process(target=choose_in_process, args=(rank, view, port, answers))
        for rank, view in enumerate(views)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = [], []
    while not answers.empty():
        rank, answer = answers.get()
        found[rank].append(answer)
    assert found[0] == found[1]
    assert found[0][0] == str(folder / 'epoch_3.pth')
    assert 'no good checkpoint' in found[0][1] and found[0][2] is None
