"""Kinds of the arguments that all of mmengine's datasets take."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..arguments import CONFIG, DICT, FLAG, TEXT, Kind, each, integer, optional

PATH = Kind('a path', lambda value: isinstance(value, (str, os.PathLike)))


def is_prefix(value: Any, *keys: str) -> bool:
    """Whether a value is a dict of paths with these keys."""
    return (
        DICT.accepts(value)
        and {*keys} <= value.keys()
        and all(map(PATH.accepts, value.values()))
    )


DATASET = dict(
    ann_file=optional(PATH),
    data_root=optional(PATH),
    data_prefix=Kind(
        "a string, or a dict of paths with the key 'img_path'",
        lambda value: TEXT.accepts(value) or is_prefix(value, 'img_path'),
    ),
    metainfo=optional(
        Kind('a dict', lambda value: isinstance(value, (Mapping, Config)))
    ),
    filter_cfg=optional(DICT),
    pipeline=each(
        Kind(
            "a dict with the key 'type' or a function",
            lambda value: CONFIG.accepts(value) or callable(value),
        ),
        least=0,
    ),
    serialize_data=FLAG,
    test_mode=FLAG,
    lazy_init=FLAG,
    max_refetch=integer(0),
)
