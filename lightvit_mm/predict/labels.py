"""Keeps labels inside the picture and draws them as written."""

from matplotlib.text import Text
from matplotlib.transforms import Bbox
from mmengine.visualization import Visualizer

MARGIN = 1  # pixels from the border, for the line around a label
MOST_CHARS = 100  # in a line


def keep_labels_inside(visualizer: Visualizer) -> None:
    """Let a visualizer draw each label inside the picture, in place.

    A label that crosses the border is moved. One that is larger than the picture
    is made smaller, and a very long line is shortened in the middle.
    """
    get_image = visualizer.get_image

    def get_image_with_whole_labels():
        for text in visualizer.ax_save.texts:
            text.set_parse_math(False)  # names may have dollar signs
            text.set_text('\n'.join(map(_shortened, text.get_text().split('\n'))))
            _move_inside(text, visualizer)
        return get_image()

    visualizer.get_image = get_image_with_whole_labels


def _shortened(line: str) -> str:
    if len(line) <= MOST_CHARS:
        return line
    half = MOST_CHARS // 2
    return f'{line[:half]}...{line[-half:]}'


def _move_inside(text: Text, visualizer: Visualizer) -> None:
    renderer = visualizer.fig_save_canvas.get_renderer()
    room = visualizer.ax_save.get_window_extent(renderer).padded(-MARGIN)
    box = _extent(text, renderer)
    shrink = min(room.width / box.width, room.height / box.height)
    if shrink < 1:
        # Letters are fitted to pixels, so that widths are not proportional to sizes.
        text.set_fontsize(text.get_fontsize() * shrink * 0.9)
        box = _extent(text, renderer)
    x, y = text.get_transform().transform(text.get_position())
    x += max(room.x0 - box.x0, 0) + min(room.x1 - box.x1, 0)
    y += max(room.y0 - box.y0, 0) + min(room.y1 - box.y1, 0)
    text.set_position(text.get_transform().inverted().transform((x, y)))


def _extent(text: Text, renderer) -> Bbox:
    """The box around a text and its background, in pixels."""
    extent = text.get_window_extent(renderer)
    if text.get_bbox_patch() is None:
        return extent
    text.update_bbox_position_size(renderer)
    return text.get_bbox_patch().get_window_extent(renderer)
