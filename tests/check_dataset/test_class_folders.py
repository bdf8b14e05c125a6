"""Folders of classes: hidden ones, and files that mmpretrain ignores."""

import pytest

from lightvit_mm.check_dataset import any_dataset, class_folders, occurrence

from .datasets import only, write_image


def train(folders):
    return folders.cfg['train_dataloader']['dataset']['dataset']


def add(folders, *names):
    for name in names:
        path = folders.root / 'train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'\0')


def set_num_classes(folders, *names):
    """Make the rest of the data fit to more class folders in train."""
    for name in names:
        write_image(folders.root / 'val' / name / '0.jpg')
    num_classes = 2 + len(names)
    folders.cfg['model']['head']['num_classes'] = num_classes
    folders.cfg['data_preprocessor']['num_classes'] = num_classes


@pytest.mark.parametrize(
    'names, text',
    [
        ((), 'no files'),
        (
            ('c/0.webp', 'c/1.WEBP', 'c/deep/2.gif', 'c/note', 'c/.DS_Store'),
            'only 1 without suffix, 1 .gif, 2 .webp',
        ),
    ],
)
def test_a_class_folder_without_readable_images_is_found(folders, names, text):
    (folders.root / 'train/c').mkdir()
    add(folders, *names)
    set_num_classes(folders, 'c')
    in_train, in_val = folders.check().findings
    assert in_train == (class_folders.EMPTY_CLASS, str(folders.root / 'train/c'), text)
    assert in_val.kind == occurrence.NOT_TRAINED
    assert in_val.file == str(folders.root / 'val')


def test_extensions_of_the_dataset_decide(folders):
    write_image(folders.root / 'train/c/0.webp')
    set_num_classes(folders, 'c')
    train(folders)['extensions'] = ('.jpg', '.webp')
    assert folders.check().findings == []


def test_ignored_images_among_others_are_a_note(folders):
    add(folders, 'b/2.webp', 'b/3.HEIC', 'b/labels.txt')
    assert only(
        folders.check(), class_folders.IGNORED_IMAGES, folders.root / 'train/b'
    ) == ['1 .heic, 1 .webp']


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__MACOSX'])
def test_hidden_folders_that_become_classes_are_found(folders, name):
    write_image(folders.root / 'train' / name / '0.jpg')
    set_num_classes(folders, name)
    folder = folders.root / 'val' / name
    found = {(x.kind, x.file, x.entry) for x in folders.check().findings}
    assert found == {
        (class_folders.HIDDEN_CLASS, str(folder), '1 files'),
        (
            class_folders.HIDDEN_CLASS,
            str(folders.root / 'train' / name),
            '1 files',
        ),
    }


def test_hidden_folders_are_named_if_they_stop_the_dataset(folders):
    (folders.root / 'train/.ipynb_checkpoints').mkdir()
    train(folders)['metainfo'] = dict(classes=('a', 'b'))
    kinds = {x.kind for x in folders.check().findings}
    assert kinds == {any_dataset.NOT_BUILT, class_folders.HIDDEN_CLASS}


def test_hidden_folders_that_the_dataset_ignores_are_a_note(folders):
    write_image(folders.root / 'train/.ipynb_checkpoints/0.jpg')
    train(folders)['type'] = 'lightvit_mm.ClassFolderDataset'
    only(
        folders.check(),
        class_folders.HIDDEN,
        folders.root / 'train/.ipynb_checkpoints',
    )


def test_a_list_of_files_has_no_class_folders(folders):
    (folders.root / 'train/c').mkdir()
    (folders.root / 'train.txt').write_text('a/0.jpg 0\nb/0.jpg 1\n')
    train(folders).update(ann_file='train.txt', metainfo=dict(classes=('a', 'b')))
    assert folders.check().findings == []
