"""Try a trained classifier, detector or segmentor in the browser.

Drop an image on the page to see what the model predicts, and where its global tokens
look (paper, Figure 4). Press Ctrl+C to stop the program.
"""

import argparse

from lightvit_mm import cli
from lightvit_mm.config import config_name
from lightvit_mm.installed import check_installed


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    cli.add_checkpoint(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets everyone on your network use the '
        'page; default %(default)s',
    )
    parser.add_argument(
        '--port',
        type=int,
        help='port to listen on; default: the first free one from 7860',
    )
    cli.add_device(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        check_installed('gradio')
        from lightvit_mm.app.explorer import Explorer
        from lightvit_mm.app.page import make_page, serve

        cfg = cli.read_config(args)
        explorer = Explorer(cfg, cli.checkpoint_of(args, cfg), args.device)
        page = make_page(explorer, title=config_name(args.config))
        address = serve(page, args.host, args.port)
    print(f'Open {address} in a browser; press Ctrl+C to stop the program.', flush=True)
    page.block_thread()


if __name__ == '__main__':
    main()
