"""The tables and figures of the LightViT paper, made again."""
from typing import Callable, Dict, List

from ..analysis.report import Table
from . import complexity
from .options import Options

EXPERIMENTS: Dict[str, Callable[[Options], List[Table]]] = {
    'table1': complexity.table1,
    'table4': complexity.table4,
    'table5': complexity.table5,
    'table6': complexity.table6,
    'section4': complexity.section4,
    'plugin': complexity.plugin,
}
