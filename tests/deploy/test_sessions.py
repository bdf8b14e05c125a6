"""The runtimes of exported files."""

import subprocess
import sys

import pytest

pytest.importorskip('openvino')


def test_openvino_reports_nothing():
    """The fixture no_network finds attempts in child processes, too."""
    code = (
        'from lightvit_mm.deploy.sessions import import_openvino\n'
        'print(import_openvino().Core().available_devices)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert 'CPU' in done.stdout
