"""Properties of the split."""

import random

import pytest

from lightvit_mm.convert_dataset.split import choose_val

IMAGES = {f'{i}.jpg': 'ab'[: i % 3] for i in range(100)}


@pytest.mark.parametrize(
    'share, number', [(0.2, 20), (0.5, 50), (0.001, 1), (0.999, 99)]
)
def test_share(share, number):
    val = choose_val(dict.fromkeys(IMAGES, ''), share)
    assert len(val) == number
    assert val < IMAGES.keys()


def test_only_names_and_seed_decide():
    shuffled = list(IMAGES.items())
    random.Random(1).shuffle(shuffled)
    assert choose_val(dict(shuffled), 0.2) == choose_val(IMAGES, 0.2)
    assert choose_val(IMAGES, 0.2, seed=1) != choose_val(IMAGES, 0.2)


def test_the_choice_is_that_of_every_computer():
    """The names in the order that sha256sum of 0/NAME gives."""
    names = [f'{i}.jpg' for i in range(6)]
    assert choose_val(dict.fromkeys(names, ''), 0.34) == {'1.jpg', '2.jpg'}


@pytest.mark.parametrize('seed', range(20))
def test_classes_of_val_occur_in_train(seed):
    """Each rare class has two images, which must not both go to val."""
    rare = {f'{i}.jpg': [f'rare{i // 2}', 'common'] for i in range(20)}
    val = choose_val(rare, 0.5, seed)
    assert len(val) == 10
    train = {x for name in rare.keys() - val for x in rare[name]}
    assert {x for name in val for x in rare[name]} <= train


def test_val_gets_its_share_even_if_each_class_is_in_one_image():
    assert len(choose_val({'a': ['x'], 'b': ['y'], 'c': ['z']}, 0.34)) == 1


@pytest.mark.parametrize('share', [0.001, 0.5, 0.999])
def test_two_images(share):
    assert len(choose_val({'a': 'x', 'b': 'x'}, share)) == 1


def test_one_image_is_an_error():
    with pytest.raises(ValueError, match='needs two images'):
        choose_val({'a': 'x'}, 0.5)
