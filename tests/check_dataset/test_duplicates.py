"""The same image several times, or in train and val."""

import shutil

from lightvit_mm.check_dataset import duplicates

from .datasets import only


def test_an_image_twice_in_a_dataset_is_a_note(maps):
    folder = maps.root / 'img/train'
    shutil.copy(folder / '0.jpg', folder / '2.jpg')
    [entry] = only(maps.check(), duplicates.REPEATED, folder / '2.jpg')
    assert f'the same file as {folder / "0.jpg"}' in entry
    assert 'NOTE in train: images that' in str(maps.check())


def test_a_file_under_two_ids_is_a_note(pets):
    pets.data['train']['images'][2]['file_name'] = '0.jpg'
    [entry] = only(pets.check(), duplicates.REPEATED, pets.root / 'train/0.jpg')
    file = pets.root / 'train.json'
    path = pets.root / 'train/0.jpg'
    assert entry == f'image 2 of {file}, the same file as {path} (image 0 of {file})'


def test_images_in_train_and_val_are_a_note(pets):
    train, val = (pets.root / split for split in ('train', 'val'))
    shutil.copy(train / '2.jpg', val / '0.jpg')
    report = pets.check()
    assert only(report, duplicates.LEAKED, val / '0.jpg') == [
        f'in train as {train / "2.jpg"}'
    ]
    assert 'NOTE in val, test: images that are also in the training set (1)' in str(
        report
    )


def test_a_folder_that_is_train_and_val_is_a_note(maps):
    maps.cfg['val_dataloader'] = maps.cfg['train_dataloader']
    report = maps.check()
    assert {x.kind for x in report.findings} == {duplicates.LEAKED}
    assert 'NOTE in val: images that are also in the training set (3)' in str(report)


def test_folds_share_their_files(folders):
    folders.cfg['val_dataloader']['dataset']['data_prefix'] = 'train'
    assert folders.check().findings == []
    train = folders.cfg['train_dataloader']
    train['dataset'] = train['dataset']['dataset']
    assert {x.kind for x in folders.check().findings} == {duplicates.LEAKED}
