"""The tables and figures of the LightViT paper, made again."""

from collections.abc import Callable

from ..analysis.report import Table
from . import attention, complexity, throughput
from .options import Options

EXPERIMENTS: dict[str, Callable[[Options], list[Table]]] = {
    'table1': complexity.table1,
    'table3': throughput.table3,
    'table4': complexity.table4,
    'table5': complexity.table5,
    'table6': complexity.table6,
    'section4': complexity.section4,
    'figure1': throughput.figure1,
    'figure4': attention.figure4,
    'figure5a': throughput.figure5a,
    'plugin': complexity.plugin,
}
