"""The model zoo page: each config with its cost, result, weights and log."""

from collections.abc import Iterable
from typing import Any

from ..metafile import entries
from .report import Table

_INTRODUCTION = """# Model zoo

`make model-zoo` writes this page from `configs/metafile.yml`.

- Parameters and MACs were counted with `tools/analysis/get_flops.py`, at the size in
  the column Input. The paper counts fewer MACs for classifiers: see
  [Table 1](paper/table1.md). Detectors have 1000 proposals. Masks are predicted for 100
  of them; Cascade Mask R-CNN predicts masks for all 1000 in each of its three stages.
- Results are quoted from the source next to them. No model was trained to completion to
  verify them.
- The weights are the authors'. `predict.py`, `test.py`, `export.py`, `app.py` and
  `visualize_attention.py` use them if you give no checkpoint. The detectors' weights
  could not be downloaded during development, so loading them is untested: see
  [Published weights](predict.md#published-weights).
- The logs are from the authors' training runs.
"""
_HEADER = (
    'Config',
    'Params (M)',
    'MACs (G)',
    'Input',
    'Published result',
    'Source',
    'Weights',
    'Log',
)
# By folder in configs/; configs in configs/ itself, by training data.
_TITLES = {
    'ImageNet-1k': 'ImageNet',
    'COCO': 'COCO',
    'ADE20K': 'ADE20K',
    'your own': 'Your own data',
    'released': "COCO, with the recipe of the authors' code",
    'ablation': "The paper's ablations and plug-in",
    'large_scale': 'FSDP and DeepSpeed',
    'miniature': 'Ten classes of ImageNet',
    'demo': 'The demo',
}
_METRICS = {
    'Top 1 Accuracy': 'top-1',
    'Top 5 Accuracy': 'top-5',
    'box AP': 'box AP',
    'mask AP': 'mask AP',
}


def page() -> str:
    """The page as Markdown."""
    tables = {group: Table(title, _HEADER) for group, title in _TITLES.items()}
    for entry in entries():
        tables[_group(entry)].rows.append(_row(entry))
    return '\n'.join([_INTRODUCTION, *(t.markdown(level=2) for t in tables.values())])


def _group(entry: dict[str, Any]) -> str:
    _, *folders, _ = entry['Config'].split('/')
    return folders[0] if folders else entry['Metadata']['Training Data']


def _row(entry: dict[str, Any]) -> list[str | None]:
    metadata = entry['Metadata']
    macs = metadata['FLOPs'] / 1e9
    weights, log = entry.get('Weights'), entry.get('Training Log')
    return [
        f'`{entry["Config"].removeprefix("configs/")}`',
        f'{metadata["Parameters"] / 1e6:.2f}',
        f'{macs:.2f}' if macs < 10 else f'{macs:.1f}',
        metadata['Input Size'],
        _results(entry.get('Results', ())),
        entry.get('Source'),
        weights and f'`{weights}`',
        log and f'[log]({log})',
    ]


def _results(results: Iterable[dict[str, Any]]) -> str | None:
    figures = [
        f'{_METRICS[name]} {value}'
        for result in results
        for name, value in result['Metrics'].items()
    ]
    return ', '.join(figures) or None
