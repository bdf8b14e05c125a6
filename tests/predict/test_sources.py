"""The files of a run and the names of their results."""

from pathlib import Path

import pytest

from lightvit_mm.predict.sources import find_sources, is_source, mask_names


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        'a/x.jpg',
        'a/y.PNG',
        'a/deep/z.tif',
        'a/notes.txt',
        'b/x.jpg',
        'b/clip.mp4',
        'photo[1].png',
        'unzipped/x.jpg',
        'unzipped/._x.jpg',
        'unzipped/.ipynb_checkpoints/x.jpg',
        'unzipped/__MACOSX/x.jpg',
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    'paths, images, videos',
    [
        (['a'], ['deep/z.tif', 'x.jpg', 'y.PNG'], []),
        (['a/x.jpg'], ['x.jpg'], []),
        (['b/clip.mp4'], [], ['clip.mp4']),
        (['a/x.jpg', 'b/x.jpg'], ['a/x.jpg', 'b/x.jpg'], []),
        (['b/clip.mp4', 'b'], ['x.jpg'], ['clip.mp4']),
        (
            ['a/deep', 'b', 'b/clip.mp4'],
            ['a/deep/z.tif', 'b/x.jpg'],
            ['b/clip.mp4'],
        ),
        # Each file once, whatever it is called.
        (['a/x.jpg', './a/x.jpg', 'b/../a/*.jpg'], ['x.jpg'], []),
        (['a', 'a/deep/z.tif'], ['deep/z.tif', 'x.jpg', 'y.PNG'], []),
        (['a/*.jpg'], ['x.jpg'], []),
        (['?/*.jpg'], ['a/x.jpg', 'b/x.jpg'], []),
        (['a/**/*.[jt][ip]*'], ['deep/z.tif', 'x.jpg'], []),
        (['unzipped'], ['x.jpg'], []),
        (['b/*'], ['x.jpg'], ['clip.mp4']),
        (['a/d*'], ['z.tif'], []),
        # Existing files are not taken for globs.
        (['photo[1].png'], ['photo[1].png'], []),
    ],
)
def test_results_are_named_from_the_common_folder(tree, paths, images, videos):
    found = find_sources(paths, Path('out'))
    assert sorted(found.images) == images and list(found.videos) == videos
    for name, path in {**found.images, **found.videos}.items():
        assert path.is_file() and path.as_posix().endswith(name)


def test_results_of_an_earlier_run_are_skipped(tree):
    out = Path('a/deep')
    assert sorted(find_sources(['a'], out).images) == ['x.jpg', 'y.PNG']
    assert sorted(find_sources(['a/**/*.*[gfG]'], out).images) == ['x.jpg', 'y.PNG']
    with pytest.raises(FileNotFoundError, match=r'There is no a/deep/\*'):
        find_sources(['a/deep/*'], out)
    with pytest.raises(ValueError, match='a/deep/z.tif lies in a/deep, where results'):
        find_sources(['a/x.jpg', 'a/deep/z.tif'], out)


def test_a_glob_without_a_match_is_explained(tree):
    with pytest.raises(FileNotFoundError, match=r'There is no a/\*\.bmp: .* a glob'):
        find_sources(['a/x.jpg', 'a/*.bmp'], Path('out'))
    with pytest.raises(ValueError, match=r'a/notes.txt should be a folder, an image'):
        find_sources(['a/*'], Path('out'))


@pytest.mark.parametrize(
    'images, masks',
    [
        (['24.png', '25.jpg'], ['24.png', '25.png']),
        (['a/24.png', 'b/24.jpg', 'v1.2.tif'], ['a/24.png', 'b/24.png', 'v1.2.png']),
        (['24.png', '24.jpg', '25.jpg'], ['24.png.png', '24.jpg.png', '25.jpg.png']),
        (
            ['24.jpg', '24.bmp', '24.jpg.png'],
            [f'24.{s}.png' for s in ('jpg', 'bmp', 'jpg.png')],
        ),
        (['A.jpg', 'a.png'], ['A.jpg.png', 'a.png.png']),
    ],
)
def test_masks_are_named_like_images_and_replace_none(images, masks):
    assert mask_names(images) == dict(zip(images, masks))


@pytest.mark.parametrize(
    'path, expected',
    [
        ('a', True),
        ('a/y.PNG', True),
        ('b/clip.mp4', True),
        ('missing.jpg', True),
        ('a/*', True),
        ('**/x', True),
        ('model.pth', False),
        ('a/notes.txt', False),
        ('lightvit://tiny-in1k', False),
        ('https://host/x.pth?sig=1', False),
        ('https://host/a.jpg', False),
        ('runs/x/best_*.pth', False),
        ('best_[0-9].CKPT', False),
        ('a/*.bmp', True),
        ('missing', False),
        ('run[1]', False),
    ],
)
def test_sources_are_told_from_checkpoints(tree, path, expected):
    Path('run[1]').touch()
    assert is_source(path) is expected
