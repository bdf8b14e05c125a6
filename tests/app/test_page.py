"""The page in Chromium, and the tool that serves it."""

import io
import logging
import os
import runpy
import shutil
import socket
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightvit_mm import installed
from lightvit_mm.analysis.attention_maps import global_attention_maps, heat_map
from lightvit_mm.app.explorer import Explorer
from lightvit_mm.config import read_config
from lightvit_mm.trained import find_backbone, load_trained, network_input

from ..predict.models import FRUITS, plain
from ..processes import free_port, serving

TOOL = Path(__file__).parents[2] / 'tools/app.py'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def test_the_tool_says_how_to_install_gradio(models, monkeypatch):
    monkeypatch.setattr(installed, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'argv', [str(TOOL), 'config.py', 'model.pth'])
    with pytest.raises(SystemExit, match=r'pip install "lightvit_mm\[app\]"$'):
        runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def gradio():
    return pytest.importorskip('gradio', reason='run `make test-app`: it installs it')


def test_the_tool_listens_on_this_machine_only_until_ctrl_c(gradio, models, tmp_path):
    folder, port = models['classifier'], free_port()
    files = [folder / 'config.py', folder / 'model.pth']
    command = [sys.executable, TOOL, *files, '--port', port]
    with serving(command, tmp_path) as (address, output):
        assert address == f'http://127.0.0.1:{port}/'
        with socket.create_connection(('127.0.0.1', port), timeout=5):
            pass
        # 127.0.0.2 is answered by servers that listen on all addresses.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.2', port), timeout=5)
    assert 'Traceback' not in output() and 'share' not in output()


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip(
        'playwright.sync_api', reason='run `make test-app`: it installs playwright'
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip('install Chromium, for example with `apt install chromium`')
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        chromium = playwright.chromium.launch(
            executable_path=program, chromium_sandbox=os.getuid() != 0
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(gradio, browser, models, photo, tmp_path, monkeypatch):
    """Open the page of a model; fail if it contacts another machine."""
    from lightvit_mm.app import page

    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'gradio'))
    servers, foreign, tabs = [], [], []

    def run(kind):
        folder = models[kind]
        cfg = read_config(str(folder / 'config.py'))
        server = page.make_page(Explorer(cfg, folder / 'model.pth'), f'A {kind}')
        servers.append(server)
        address = page.serve(server, '127.0.0.1', int(free_port()))
        tabs.append(browser.new_page(viewport=dict(width=1280, height=900)))

        def watch(request):
            if not request.url.startswith((address, 'data:', 'blob:')):
                foreign.append(request.url)

        tabs[-1].on('request', watch)
        tabs[-1].goto(address)
        return tabs[-1]

    yield run
    for tab in tabs:
        tab.close()
    for server in servers:
        server.close()
    assert foreign == []


def table(tab):
    """The text of the rows that the table shows."""
    cells = tab.locator('[data-testid^="cell-"]')
    columns = tab.locator('[data-testid^="cell-0-"]').count()
    return np.reshape(cells.all_inner_texts(), (-1, columns or 1)).tolist()


def wait(is_true):
    """Wait until the page has changed."""
    end = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end, 'the page did not change in time'
        time.sleep(0.05)


def image(tab, label):
    """The image with a label."""
    label = tab.get_by_test_id('block-label').filter(has_text=label)
    return label.locator('xpath=..').locator('img')


def pixels(tab, label):
    """The pixels of an image, RGB."""
    content = tab.request.get(image(tab, label).get_attribute('src')).body()
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))


def set_score(tab, score):
    tab.get_by_label('number input for Score above').fill(f'{score:.2f}')
    tab.keyboard.press('Tab')


def test_upload_and_slider_of_a_detector(visit, models, photo):
    tab = visit('detector')
    found = plain(models['detector'], photo).pred_instances
    scores = found.scores.tolist()
    tab.set_input_files('input[type=file]', photo)
    image(tab, 'Predictions').wait_for()
    assert pixels(tab, 'Predictions').shape == (83, 150, 3)
    expected = [
        [FRUITS[label], f'{score:.3f}']
        for label, score in zip(found.labels.tolist(), scores)
    ]
    all_drawn = pixels(tab, 'Predictions')
    assert [row[:2] for row in table(tab)[:8]] == expected[:8]
    set_score(tab, int(scores[0] * 100) / 100)
    number = sum(score > int(scores[0] * 100) / 100 for score in scores)
    wait(lambda: len(table(tab)) == number < 8)
    assert [row[:2] for row in table(tab)] == expected[:number]
    wait(lambda: not np.array_equal(pixels(tab, 'Predictions'), all_drawn))
    set_score(tab, 0.3)
    wait(lambda: [row[:2] for row in table(tab)[:8]] == expected[:8])
    x, y, w, h = map(int, table(tab)[0][2].split(', '))
    x1, y1, x2, y2 = found.bboxes[0].tolist()
    np.testing.assert_allclose([x, y, x + w, y + h], [x1, y1, x2, y2], atol=1)


@pytest.mark.parametrize('kind', ['classifier', 'segmentor'])
def test_only_detectors_have_the_slider(visit, models, photo, kind):
    tab = visit(kind)
    tab.set_input_files('input[type=file]', photo)
    expected = plain(models[kind], photo)
    if kind == 'classifier':
        top = expected.pred_score.topk(5).indices
    else:
        top = expected.pred_sem_seg.data.unique()
    names = [FRUITS[label] for label in top]
    wait(lambda: [row[0] for row in table(tab)] == names)
    assert tab.get_by_text('Score above').count() == 0
    assert image(tab, 'Predictions').is_visible()


def test_click_shows_what_a_pixel_receives(visit, models, photo):
    tab = visit('detector')
    tab.set_input_files('input[type=file]', photo)
    tab.get_by_role('tab', name='Attention').click()
    looks = image(tab, 'Token: click')
    looks.wait_for()

    # The same weights from a model of its own.
    folder = models['detector']
    cfg = read_config(str(folder / 'config.py'))
    model = load_trained(cfg, folder / 'model.pth')
    seen, inputs = network_input(model, cfg, photo)
    block = global_attention_maps(find_backbone(model), inputs)[1]

    def shows(weights):
        script = 'all => all.map(meter => [meter.ariaLabel, meter.value])'
        bars = sorted(tab.locator('meter').evaluate_all(script))
        expected = [[f'token {i}', x] for i, x in enumerate(weights.tolist())]
        return len(bars) == len(expected) and all(
            bar[0] == name and bar[1] == pytest.approx(x, abs=1e-5)
            for bar, (name, x) in zip(bars, expected)
        )

    h, w = seen.shape[:2]
    middle = block.broadcast[0].mean(0)[:, h // 2 // 16, w // 2 // 16]
    tab.get_by_label('Block').click()
    tab.get_by_role('option', name='stage 2, block 1').click()
    wait(lambda: shows(middle))

    # The picture is enlarged, and stands in the middle of its frame.
    zoom = 600 // w
    frame = looks.bounding_box()
    scale = min(frame['width'] / w / zoom, frame['height'] / h / zoom, 1)
    left = (frame['width'] - scale * w * zoom) / 2
    top = (frame['height'] - scale * h * zoom) / 2
    x, y = 350, 62  # pixels of the picture
    looks.click(position=dict(x=left + x * scale, y=top + y * scale))
    received = block.broadcast[0].mean(0)[:, y // 16 // zoom, x // 16 // zoom]
    assert not np.allclose(received, middle, atol=1e-3)
    wait(lambda: shows(received))

    weights, first = block.window(y // 16 // zoom, x // 16 // zoom)
    large = seen.repeat(zoom, 0).repeat(zoom, 1)

    def is_shown(label, weights, first=(0, 0)):
        """Up to the rounding of a click, which moves the cross."""
        expected = heat_map(large, weights, 16 * zoom, first, mark=(x, y)).astype(int)
        return np.abs(pixels(tab, label) - expected).mean() < 1

    wait(lambda: is_shown('its window', weights[0].mean(0), first))
    tab.get_by_label('2', exact=True).check()
    for kind, label in (
        ('aggregation', 'where the token looks'),
        ('broadcast', 'where it is read'),
    ):
        tab.get_by_label(label).check()
        weights = getattr(block, kind)[0, :, 2].mean(0)
        wait(partial(is_shown, 'Token: click', weights))


def test_a_bad_upload_is_a_message_on_the_page(visit, photo, capfd, monkeypatch):
    # A logger of OpenMMLab may hold the closed output of an earlier test.
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    tab = visit('classifier')
    tab.set_input_files('input[type=file]', photo)
    image(tab, 'Predictions').wait_for()
    tab.get_by_label('Clear').first.click()
    wait(lambda: image(tab, 'Predictions').count() == 0)
    bad = photo.with_name('<img src=x>.png')
    bad.write_bytes(photo.read_bytes()[:-900])
    tab.set_input_files('input[type=file]', bad)
    message = tab.get_by_text('is damaged')
    message.wait_for()
    assert tab.locator('[src=x]').count() == 0
    # The page still works.
    tab.set_input_files('input[type=file]', photo)
    image(tab, 'Predictions').wait_for()
    assert 'Traceback' not in ''.join(capfd.readouterr())
