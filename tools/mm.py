"""Run a tool of an installed mmpretrain, mmdet or mmsegmentation."""

import argparse
import runpy
import sys

from lightvit_mm import cli
from lightvit_mm.config import mim_folder
from lightvit_mm.messages import close_to


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('package', choices=['mmpretrain', 'mmdet', 'mmseg'])
    parser.add_argument('tool', help='for example analyze_logs or confusion_matrix')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments of the tool, or --help'
    )
    return parser.parse_args()


def find_tool(package: str, tool: str) -> str:
    folder = mim_folder(package) / 'tools'
    paths = {path.stem: str(path) for path in folder.rglob('*.py')}
    if tool not in paths:
        raise FileNotFoundError(
            f'There is no tool {tool} in {folder}{close_to(tool, list(paths))}'
        )
    return paths[tool]


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        path = find_tool(args.package, args.tool)
    sys.argv = [path, *args.arguments]
    runpy.run_path(path, run_name='__main__')


if __name__ == '__main__':
    main()
