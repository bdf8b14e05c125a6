"""Kinds of the arguments that all datasets of mmengine take."""

import os
from collections.abc import Mapping

from ..arguments import DICT, FLAG, Kind, integer, optional

PATH = Kind('a path', lambda value: isinstance(value, (str, os.PathLike)))
DATASET = dict(
    ann_file=optional(PATH),
    data_root=optional(PATH),
    data_prefix=Kind(
        'a path, or a dict of paths',
        lambda value: (
            all(map(PATH.accepts, value.values()))
            if isinstance(value, Mapping)
            else PATH.accepts(value)
        ),
    ),
    metainfo=optional(Kind('a dict', lambda value: isinstance(value, Mapping))),
    filter_cfg=optional(DICT),
    pipeline=Kind('a list', lambda value: isinstance(value, (list, tuple))),
    serialize_data=FLAG,
    test_mode=FLAG,
    lazy_init=FLAG,
    max_refetch=integer(0),
)
