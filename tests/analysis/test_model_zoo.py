"""The page Model zoo."""

import runpy
import sys
from pathlib import Path

from lightvit_mm.metafile import entries

from ..paper.markdown import tables_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs/model_zoo.md'


def test_the_page_is_what_the_command_writes(tmp_path, monkeypatch):
    tool = str(ROOT / 'tools/model_zoo.py')
    monkeypatch.setattr(sys, 'argv', [tool, '--out', str(tmp_path / 'page.md')])
    runpy.run_path(tool, run_name='__main__')
    written = (tmp_path / 'page.md').read_text()
    assert written == PAGE.read_text(), 'run `make model-zoo`'


def test_the_page_lists_every_config():
    rows = {row[0]: row for _, rows in tables_of(PAGE.read_text()) for row in rows}
    configs = [entry['Config'].removeprefix('configs/') for entry in entries()]
    assert sorted(rows) == sorted(f'`{config}`' for config in configs)
    assert rows['`mask_rcnn_lightvit_s_3x.py`'] == [
        '`mask_rcnn_lightvit_s_3x.py`',
        '37.76',
        '205.6',
        '800 x 1280',
        'box AP 43.2, mask AP 39.9',
        'paper, Table 4',
        '`lightvit://small-mask-rcnn-3x-coco`',
        '[log](https://github.com/hunto/LightViT/releases/download/v0.0.1/'
        'mask_rcnn_lightvit_small_fpn_3x_ms_coco.log.json)',
    ]


def test_other_pages_lead_to_it():
    assert '](docs/model_zoo.md)' in (ROOT / 'README.md').read_text()
    assert ' model_zoo.md\n' in (ROOT / 'mkdocs.yml').read_text()
