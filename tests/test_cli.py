"""Which of a tool's files is the checkpoint."""

import argparse
import sys

import pytest

from lightvit_mm import cli


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parse the arguments after the config; return the checkpoint and the paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photos').mkdir()
    parser = argparse.ArgumentParser()
    cli.add_config(parser)
    cli.add_checkpoint_and_sources(parser, metavar='IMAGE')
    parser.add_argument('--out')

    def run(arguments):
        monkeypatch.setattr(sys, 'argv', ['tool', 'config.py', *arguments.split()])
        args = cli.parse_sources(parser)
        return args.checkpoint, args.paths

    return run


@pytest.mark.parametrize(
    'arguments, expected',
    [
        ('model.pth a.jpg', ('model.pth', ['a.jpg'])),
        (
            'lightvit://tiny-in1k a.jpg b.jpg',
            ('lightvit://tiny-in1k', ['a.jpg', 'b.jpg']),
        ),
        ('a.jpg', (None, ['a.jpg'])),
        ('a.jpg b.mp4', (None, ['a.jpg', 'b.mp4'])),
        ('photos', (None, ['photos'])),
        ('photos a.jpg', (None, ['photos', 'a.jpg'])),
        ('photos/*.png', (None, ['photos/*.png'])),
        ('http://h/x.pth?sig=1 a.jpg', ('http://h/x.pth?sig=1', ['a.jpg'])),
        ('runs/best_*.pth a.jpg', ('runs/best_*.pth', ['a.jpg'])),
        ('--out x a.jpg', (None, ['a.jpg'])),
        ('--out x model.pth a.jpg', ('model.pth', ['a.jpg'])),
        ('model.pth --out x a.jpg', ('model.pth', ['a.jpg'])),
        # The second is an image that does not exist, or of an unknown type.
        ('model.pth text', ('model.pth', ['text'])),
    ],
)
def test_the_first_file_is_the_checkpoint_unless_it_is_a_source(
    parse, arguments, expected
):
    assert parse(arguments) == expected


def test_a_checkpoint_without_images_is_explained(parse, capsys):
    with pytest.raises(SystemExit):
        parse('model.pth')
    assert 'model.pth is not an image: add one after' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, expected',
    [
        ('', None),
        ('model.pth', 'model.pth'),
        ('--out x model.pth', 'model.pth'),
        ('--out x', None),
        ('model.pth --cfg-options a=1', 'model.pth'),
    ],
)
def test_a_checkpoint_alone_is_optional_anywhere(arguments, expected):
    parser = argparse.ArgumentParser()
    cli.add_config(parser)
    cli.add_checkpoint(parser)
    parser.add_argument('--out')
    args = parser.parse_intermixed_args(['config.py', *arguments.split()])
    assert (args.config, args.checkpoint) == ('config.py', expected)


def test_the_default_checkpoint_is_the_published_one():
    parser = argparse.ArgumentParser()
    cli.add_config(parser)
    cli.add_checkpoint(parser)

    def checkpoint(*given):
        args = parser.parse_args(given)
        return cli.checkpoint_of(args, cli.read_config(args))

    published = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
    assert checkpoint(published) == 'lightvit://tiny-in1k'
    assert checkpoint(published, 'model.pth') == 'model.pth'
    with pytest.raises(
        ValueError, match='retinanet.* has no published weights: give a checkpoint'
    ):
        checkpoint('lightvit_mm::retinanet_lightvit_t_1x.py')
