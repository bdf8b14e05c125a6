"""Truncated image files, which OpenCV reads without an error."""

from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError


def is_cut_short(file: Path | BinaryIO) -> bool:
    """Whether it is a truncated JPEG, the rest of which OpenCV may make up."""
    try:
        image = Image.open(file, formats=['JPEG'])
    except UnidentifiedImageError:
        return False
    with image:
        image.draft('L', (1, 1))  # an eighth of the size, for speed
        try:
            image.load()
        except OSError:
            return True
    return False
