"""The names of the tables and figures, and what makes each of them."""

from collections.abc import Callable

from ..analysis.report import Table
from . import Options, attention, complexity, throughput

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
