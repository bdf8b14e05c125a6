"""The whole conversion: formats, splits, files, and what reads the result."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from lightvit_mm.check_dataset.check import check
from lightvit_mm.convert_dataset.convert import convert
from lightvit_mm.engine.own_data import complete

from .converted import Result
from .files import write_image, write_json, write_text
from .test_labelme import SQUARE, shape, write_labelme

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path):
    """labelme's files in two folders with images of the same names."""
    root = tmp_path / 'source'
    for folder in ('x', 'y'):
        for i in range(5):
            write_image(root / f'{folder}/{i}.png')
            write_labelme(
                root / f'{folder}/{i}.json',
                shape('cat', SQUARE),
                shape('dog', [[20, 5], [30, 5], [30, 9]]),
            )
    return root


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_no_image_is_lost_or_in_both_splits(source, tmp_path):
    before = contents(source)
    out = tmp_path / 'out'
    result = Result(out, convert(source, out, val=0.3))
    train, val = result.images['train'], result.images['val']
    assert (len(train), len(val)) == (7, 3)
    assert sorted(train + val) == [f'{x}/{i}.png' for x in 'xy' for i in range(5)]
    for split, names in result.images.items():
        for name in names:
            assert (out / split / name).read_bytes() == before[name]
    assert contents(source) == before


def test_a_seed_gives_one_result(source, tmp_path):
    shutil.copytree(source, tmp_path / 'moved/again')
    for out, folder, seed in (
        ('1', source, 0), ('2', tmp_path / 'moved/again', 0), ('3', source, 1),
    ):  # fmt: skip
        convert(folder, tmp_path / out, val=0.3, seed=seed)
    first, second, other = (contents(tmp_path / x) for x in '123')
    assert first == second
    assert first.keys() != other.keys()


def test_images_are_linked(source, tmp_path):
    convert(source, tmp_path / 'out', val=0.3)
    image = next((tmp_path / 'out/train').rglob('*.png'))
    assert image.stat().st_nlink == 2


def test_images_are_copied_where_links_are_impossible(source, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError('not on this file system')

    monkeypatch.setattr(os, 'link', fail)
    convert(source, tmp_path / 'out', val=0.3)
    images = list((tmp_path / 'out').rglob('*.png'))
    assert len(images) == 10
    assert {image.stat().st_nlink for image in images} == {1}


def test_nothing_is_half_written(source, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'link', fail)
    monkeypatch.setattr(shutil, 'copyfile', fail)
    with pytest.raises(OSError, match='disk full'):
        convert(source, tmp_path / 'out', val=0.3)
    assert os.listdir(tmp_path) == ['source']


def test_an_empty_folder_is_filled(source, tmp_path):
    (tmp_path / 'out').mkdir()
    convert(source, tmp_path / 'out', val=0.3)
    assert sorted(os.listdir(tmp_path)) == ['out', 'source']


def test_a_folder_with_files_is_left_alone(source, tmp_path):
    write_text(tmp_path / 'out/mine.txt', 'mine')
    with pytest.raises(FileExistsError, match='out already exists'):
        convert(source, tmp_path / 'out', val=0.3)
    assert os.listdir(tmp_path / 'out') == ['mine.txt']


def test_the_result_may_not_be_in_the_source(source):
    with pytest.raises(ValueError, match='which should not change'):
        convert(source, source / 'out', val=0.3)


@pytest.mark.parametrize('val', [0, 1, 20, -0.1])
def test_val_is_a_part(source, tmp_path, val):
    with pytest.raises(ValueError, match='--val .* should be between 0 and 1'):
        convert(source, tmp_path / 'out', val=val)


def test_a_split_is_needed(source, tmp_path):
    with pytest.raises(ValueError, match='Give the part .* for val, such as --val 0.2'):
        convert(source, tmp_path / 'out')


def test_a_split_is_kept(source, tmp_path):
    (source / 'x').rename(source / 'train')
    (source / 'y').rename(source / 'val')
    with pytest.raises(ValueError, match='has train and val already: leave out --val'):
        convert(source, tmp_path / 'out', val=0.3)
    result = Result(tmp_path / 'out', convert(source, tmp_path / 'out'))
    assert len(result.images['train']) == len(result.images['val']) == 5


def test_a_split_of_some_images_is_an_error(source, tmp_path):
    (source / 'x').rename(source / 'train')
    shutil.copytree(source / 'y', source / 'val')
    with pytest.raises(ValueError, match=r'y.0.json is neither in train nor in val'):
        convert(source, tmp_path / 'out')


def test_rotated_images_have_the_size_that_is_loaded(source, tmp_path):
    """EXIF rotates; labelme shows and measures the rotated image."""
    for name, size in (('a', (30, 40)), ('b', (40, 30))):
        write_image(source / f'x/{name}.jpg', size=(40, 30), orientation=6)
        write_labelme(
            source / f'x/{name}.json', image=f'{name}.jpg',
            imageWidth=size[0], imageHeight=size[1],
        )  # fmt: skip
    with pytest.raises(ValueError, match='40 x 30.*is 30 x 40. EXIF rotates it'):
        convert(source, tmp_path / 'out', val=0.3)
    (source / 'x/b.json').unlink()
    convert(source, tmp_path / 'out', val=0.3)
    images = [
        image
        for split in ('train', 'val')
        for image in json.loads((tmp_path / f'out/{split}.json').read_text())['images']
    ]
    sizes = {x['file_name']: (x['width'], x['height']) for x in images}
    assert sizes['x/a.jpg'] == (30, 40)


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_a_broken_image_is_named(source, tmp_path, content):
    (source / 'x/0.png').write_bytes(content)
    with pytest.raises(ValueError, match=r'x.0.png cannot be read as an image'):
        convert(source, tmp_path / 'out', val=0.3)


def test_only_images_of_test_are_an_error(source, tmp_path):
    shutil.rmtree(source / 'x')
    (source / 'y').rename(source / 'test')
    with pytest.raises(ValueError, match='only images of test: rename'):
        convert(source, tmp_path / 'out', val=0.3)


def test_unknown_formats_list_what_was_looked_for(tmp_path):
    write_image(tmp_path / 'source/1.png')
    write_json(tmp_path / 'source/1.json', dict(boxes=[]))
    with pytest.raises(
        ValueError, match='in no known format. Looked for labelme: .*yolo'
    ):
        convert(tmp_path / 'source', tmp_path / 'out')


def test_a_broken_file_is_named(source, tmp_path):
    (source / 'x/0.json').write_text('{')
    with pytest.raises(ValueError, match=r'x.0.json is not JSON: Expecting'):
        convert(source, tmp_path / 'out', val=0.3)


def test_several_formats_need_a_choice(source, tmp_path):
    write_text(source / 'classes.txt', 'fish')
    write_text(source / 'x/0.txt', '0 0.5 0.5 0.5 0.5')
    with pytest.raises(ValueError, match='labelme, yolo. Choose one: --format labelme'):
        convert(source, tmp_path / 'out', val=0.3)
    convert(source, tmp_path / 'out', val=0.3, format_='yolo')
    content = json.loads((tmp_path / 'out/train.json').read_text())
    assert [x['name'] for x in content['categories']] == ['fish']


@pytest.mark.parametrize('format_', ['via', 'voc', 'coco', 'masks'])
def test_a_wrong_choice_is_an_error(source, tmp_path, format_):
    with pytest.raises(ValueError, match=f'has no image of format {format_}'):
        convert(source, tmp_path / 'out', val=0.3, format_=format_)


def test_an_attribute_is_for_via(source, tmp_path):
    with pytest.raises(ValueError, match='--attribute is for VIA'):
        convert(source, tmp_path / 'out', val=0.3, attribute='pet')


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere is no folder'):
        convert(tmp_path / 'nowhere', tmp_path / 'out')


def write_masks(source, i):
    write_labelme(
        source / f'{i}.json', shape('cat', SQUARE), imageWidth=60, imageHeight=50
    )


def write_boxes(source, i):
    write_text(source / 'classes.txt', 'cat')
    write_text(source / f'{i}.txt', '0 0.5 0.5 0.2 0.2')


@pytest.mark.parametrize(
    'write, config',
    [
        (write_masks, 'finetune_mask_rcnn_lightvit_t.py'),
        (write_boxes, 'retinanet_lightvit_t_1x.py'),
    ],
)
def test_the_checker_finds_no_fault_in_the_result(tmp_path, write, config):
    """mmdet leaves out images with less than 32 pixels."""
    for i in range(10):
        write_image(tmp_path / f'source/{i}.png', size=(60, 50))
        write(tmp_path / 'source', i)
    convert(tmp_path / 'source', tmp_path / 'out', val=0.3)
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.merge_from_dict(
        dict(
            runner_type='lightvit_mm.CocoFolderRunner', data_root=str(tmp_path / 'out')
        )
    )
    complete(cfg)
    report = str(check(cfg))
    assert report.endswith('no faults found')
    assert '7 images, 7 annotations, 1 classes' in report


def run_tool(monkeypatch, *arguments):
    tool = str(ROOT / 'tools/convert_dataset.py')
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    runpy.run_path(tool, run_name='__main__')


def test_the_tool_prints_numbers_of_images_and_objects(
    source, tmp_path, monkeypatch, capsys
):
    run_tool(monkeypatch, source, tmp_path / 'out', '--val', 0.3, '--seed', 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ['train', 'val'], ['images', '7', '3'], ['cat', '7', '3'], ['dog', '7', '3'],
    ]  # fmt: skip


def test_the_tool_ends_with_a_short_message(source, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match='does not have both train and val'):
        run_tool(monkeypatch, source, tmp_path / 'out')
