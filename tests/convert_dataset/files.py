"""Writes the files of small datasets."""

import json

from PIL import Image

WIDTH, HEIGHT = 40, 30


def write_image(path, size=(WIDTH, HEIGHT), orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Each file is different.
    shade = sum(str(path).encode()) % 256
    Image.new('RGB', size, (shade, 60, 20)).save(path, exif=exif)
    return path


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')
    return path
