"""Truncated image files, which OpenCV reads without an error."""

from PIL import Image


def is_cut_short(image: Image.Image) -> bool:
    """Whether a file is a truncated JPEG, the rest of which OpenCV may make up.

    Args:
        image: The opened file; this reduces its size.
    """
    if image.format not in ('JPEG', 'MPO'):
        return False
    image.draft('L', (1, 1))  # an eighth of the size, for speed
    try:
        image.load()
    except OSError:
        return True
    return False
