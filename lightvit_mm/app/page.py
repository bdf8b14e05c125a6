"""The page in Gradio. Neither the server nor the page contacts other machines."""

import html
import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when Gradio is imported

import gradio as gr

from ..analysis.attention_maps import explain
from ..predict.tasks import Detection
from .explorer import LEAST_SCORE, Explorer, Opened

MAPS = [('where the token looks', 'aggregation'), ('where it is read', 'broadcast')]
HOUR = 3600  # seconds that files are kept
# Small images fill their frame. Clicks need the true size.
CSS = '#drawn img { width: 100%; height: 100%; object-fit: contain; }'


def make_page(explorer: Explorer, title: str) -> gr.Blocks:
    """The page of a model."""

    def open_image(path: str | None):
        if path is None:
            return None, None, None
        try:
            opened = explorer.open(path)
        except ValueError as error:
            # Gradio shows messages as HTML, and a file name may contain some.
            gr.Warning(html.escape(str(error)), duration=None, title='Not shown')
            return None, None, None
        h, w = opened.seen.shape[:2]
        return path, opened, (w // 2, h // 2)

    def predictions(opened: Opened | None, score_thr: float):
        return explorer.predictions(opened, score_thr) if opened else (None, [])

    def attention(opened: Opened | None, block: str, *choice):
        if opened is None:
            return None, None, None
        return explain(opened.blocks[block], opened.seen, *choice, opened.zoom)

    def clicked(event: gr.SelectData):
        return event.index

    # The model and the figures serve one request at a time.
    one = dict(concurrency_id='model', concurrency_limit=1, api_visibility='private')
    shown = dict(format='png', buttons=['download', 'fullscreen'], interactive=False)
    with gr.Blocks(title=title, delete_cache=(HOUR, HOUR)) as page:
        gr.Markdown(f'# {title}')
        opened, point = gr.State(), gr.State()
        file = gr.File(label='Image', height=130)
        with gr.Tab('Predictions'), gr.Row():
            with gr.Column(scale=3):
                drawn = gr.Image(
                    label='Predictions', elem_id='drawn', height=500, **shown
                )
            with gr.Column(scale=2):
                score_thr = gr.Slider(
                    LEAST_SCORE, 1, 0.3, step=0.01, label='Score above'
                )
                score_thr.visible = isinstance(explorer.task, Detection)
                table = gr.Dataframe(headers=explorer.task.columns, interactive=False)
        opening = gr.on(
            [file.upload, file.clear], open_image, file, [file, opened, point], **one
        )
        show = dict(fn=predictions, inputs=[opened, score_thr], outputs=[drawn, table])
        opening.then(**show, **one)
        score_thr.change(**show, **one, trigger_mode='always_last')
        blocks = explorer.blocks
        if not blocks:
            return page

        with gr.Tab('Attention'):
            with gr.Row():
                block = gr.Dropdown(blocks, value=blocks[-1], label='Block')
                tokens = list(range(explorer.backbone.num_tokens))
                token = gr.Radio(tokens, value=0, label='Global token')
                kind = gr.Radio(MAPS, value='aggregation', label='Map')
            with gr.Row():
                looks = gr.Image(label='Token: click a pixel', height=460, **shown)
                window = gr.Image(label='Pixel: from its window', height=460, **shown)
                received = gr.Label(label='Pixel: from the tokens', show_heading=False)
        shown = [looks, window, received]
        show = dict(
            fn=attention, inputs=[opened, block, kind, token, point], outputs=shown
        )
        opening.then(**show, **one)
        gr.on([block.input, kind.input, token.input], **show, **one)
        looks.select(clicked, outputs=point).then(**show, **one)
    return page


def serve(page: gr.Blocks, host: str, port: int | None) -> str:
    """Start the server of a page, and return its address.

    Args:
        page: The page; its ``block_thread`` waits for Ctrl+C.
        host: Address to listen on; only this machine can reach 127.0.0.1.
        port: None for the first free port from 7860 up.

    Raises:
        OSError: If the port is in use.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        theme=gr.themes.Default(font=['system-ui'], font_mono=['monospace']),
        css=CSS,
        max_file_size='256mb',
        prevent_thread_lock=True,
        quiet=True,
    )
    return address
