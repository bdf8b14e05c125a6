"""The messages about arguments, and what is passed on."""

import inspect

import numpy as np
import pytest

from lightvit_mm import LightViT, LightViTFPN
from lightvit_mm.arguments import FLAG, checked, each, integer, number, one_of


class Base:
    def __init__(self, root, *, size=1):
        self.root = root
        self.size = size


class Dataset(Base):
    @checked(
        size=integer(1), flag=FLAG, rates=each(number('in [0, 1)', lambda x: x < 1))
    )
    def __init__(self, flag=False, rates=(), **kwargs):
        super().__init__(**kwargs)
        self.flag = flag
        self.rates = rates


class Mine(Dataset):
    def __init__(self, folder, **kwargs):
        super().__init__(root=folder, **kwargs)


@pytest.mark.parametrize(
    'call, error, message',
    [
        (
            lambda: LightViT(dict(LightViT.arch_zoo['tiny'], depths=(-1, 1, 1))),
            ValueError,
            r'LightViT: arch: depths=\(-1, 1, 1\) should be a list, each entry an '
            'integer >= 1 and <= 200$',
        ),
        (
            lambda: LightViT(dict(LightViT.arch_zoo['tiny'], num_heads=(0, 4, 8))),
            ValueError,
            r'LightViT: arch: num_heads=\(0, 4, 8\) should be a list, each entry an '
            'integer >= 1$',
        ),
        (
            lambda: LightViT(with_cp='False'),
            ValueError,
            "LightViT: with_cp='False' should be True or False$",
        ),
        (
            lambda: LightViT(out_indices=2),
            ValueError,
            'LightViT: out_indices=2 should be a list, each entry an integer$',
        ),
        (
            lambda: LightViT(drop_path_rate=float('nan')),
            ValueError,
            r'LightViT: drop_path_rate=nan should be in \[0, 1\)$',
        ),
        (
            lambda: LightViTFPN([4], 4, float('inf')),
            ValueError,
            'LightViTFPN: num_outs=inf should be an integer >= 1 and <= 32$',
        ),
        (
            lambda: LightViTFPN([4], 4, num_extra_trans_convs=-1),
            ValueError,
            'LightViTFPN: num_extra_trans_convs=-1 should be an integer >= 0 and <= 8$',
        ),
        (
            lambda: LightViTFPN([4]),
            TypeError,
            "LightViTFPN: missing a required argument: 'out_channels'$",
        ),
        (
            lambda: LightViT(num_token=3),
            TypeError,
            r"LightViT has no argument 'num_token' \(close to it: num_tokens\); it "
            'takes arch, in_channels, num_tokens',
        ),
        (
            lambda: Dataset(rot='x'),
            TypeError,
            r"Dataset has no argument 'rot' \(close to it: root\); it takes flag, "
            'rates, root, size$',
        ),
        (
            lambda: Mine('x', flg=True),
            TypeError,
            r"Dataset has no argument 'flg' \(close to it: flag\)",
        ),
        (lambda: Mine('x', size=0), ValueError, 'Dataset: size=0 should be an integer'),
        (
            lambda: Mine('x', rates=[0, 2]),
            ValueError,
            r'Dataset: rates=\[0, 2\] should be a list, each entry in \[0, 1\)$',
        ),
    ],
)
def test_message(call, error, message):
    with pytest.raises(error, match=f'^{message}'):
        call()


def test_long_values_take_one_line():
    with pytest.raises(
        ValueError, match=r'out_indices=array.* \.\.\. .*should'
    ) as error:
        LightViT(out_indices=np.zeros((99, 99)))
    assert '\n' not in str(error.value) and len(str(error.value)) < 200


def test_values_arrive_in_the_type_that_the_class_expects():
    dataset = Mine(
        'x', flag=np.bool_(True), rates=np.float32([0, 0.5]), size=np.int64(3)
    )
    assert (dataset.root, dataset.flag, dataset.rates) == ('x', True, (0.0, 0.5))
    assert type(dataset.flag) is bool and type(dataset.size) is int
    assert all(type(rate) is float for rate in dataset.rates)


def test_one_of_tells_bools_and_floats_from_integers():
    kind = one_of(4, 1)
    assert kind.accepts(np.int64(4)) and type(kind.convert(np.int64(4))) is int
    assert not any(map(kind.accepts, (True, 4.0, '4', None, [4])))


def test_signature_is_that_of_the_class():
    assert list(inspect.signature(LightViTFPN).parameters) == [
        'in_channels',
        'out_channels',
        'num_outs',
        'num_extra_trans_convs',
        'init_cfg',
    ]
