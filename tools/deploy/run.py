"""Run a model file of export.py on images; print and draw the results.

Supports classifiers, detectors, segmentors and backbones. An .onnx file needs
onnxruntime, an .xml file needs openvino; apart from that only NumPy and Pillow
are needed. The file itself describes how to prepare an image.
"""

import argparse
import colorsys
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, EXTRASAMPLES

KEY = 'lightvit_mm'
DARK = 2**14  # Without a value above it, an image of 16 bits looks nearly black.
SUFFIXES = '.bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp'
# The limit in training, which is OpenCV's. Pillow's own is below 2**28.
Image.MAX_IMAGE_PIXELS = 2**30
TOP = 5  # number of classes that are printed for a classifier
Arrays = dict[str, np.ndarray]


class Model(NamedTuple):
    """A network and the metadata of its file.

    Args:
        run: Function from inputs by name to outputs by name.
        info: The metadata; see lightvit_mm/deploy/metadata.py.
    """

    run: Callable[[Arrays], Arrays]
    info: dict


# Messages


def printable(text: str) -> str:
    """A text in one line, with escaped control characters."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(line: str) -> None:
    print(printable(line), flush=True)


class Stop(SystemExit):
    """Ends the program with a message."""

    def __init__(self, *lines: str) -> None:
        super().__init__('\n'.join(map(printable, lines)))


# Files


def read_model(path: Path) -> Model:
    """Read an .onnx or .xml file.

    Raises:
        SystemExit: If it cannot be read or is not a file of export.py.
    """
    readers = {'.onnx': ('onnxruntime', read_onnx), '.xml': ('openvino', read_openvino)}
    if path.suffix not in readers:
        raise Stop(
            f'{path} should end in .onnx or .xml, as export.py writes it with '
            '--format onnx or openvino'
        )
    if not path.is_file():
        raise Stop(f'There is no model {path}; write it with export.py')
    package, read = readers[path.suffix]
    if find_spec(package) is None:
        raise Stop(
            f'{path} needs {package}, which is not installed: pip install {package}'
        )
    try:
        model = read(path)
    # Each runtime raises different exceptions.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise Stop(
            f'{path} cannot be read by {package}; expected a file of '
            f'export.py: {reason}'
        ) from error
    if not model.info:
        raise Stop(
            f'{path} does not describe how to prepare images; expected a file of '
            'export.py'
        )
    return model


def read_onnx(path: Path) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )
    names = [node.name for node in session.get_outputs()]
    text = session.get_modelmeta().custom_metadata_map.get(KEY, '{}')
    return Model(
        lambda inputs: dict(zip(names, session.run(names, inputs))), json.loads(text)
    )


def read_openvino(path: Path) -> Model:
    # Without it, OpenVINO does not report its import to Intel.
    sys.modules.setdefault('openvino_telemetry', None)
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    # The metadata of the ONNX file from which OpenVINO's was converted.
    place = ['framework', KEY]
    text = '{}'
    if model.has_rt_info(place):
        text = model.get_rt_info(place).astype(str)
    # On CPUs with bfloat16, OpenVINO would use it by default.
    network = core.compile_model(model, 'CPU', dict(INFERENCE_PRECISION_HINT='f32'))
    names = [output.any_name for output in model.outputs]
    return Model(
        lambda inputs: dict(zip(names, network(inputs).values())), json.loads(text)
    )


class BadImage(Exception):
    """An image that cannot be read; the message gives the reason."""


def find_images(paths: list[Path], out: Path) -> dict[str, Path]:
    """Image files by name: the path from their common folder, without suffix.

    Args:
        paths: Images, folders with images in them or below, and globs of these.
        out: Folder for the pictures; images in it are skipped.

    Raises:
        SystemExit: If a path does not exist, a folder has no image or two images
            have the same name.
    """
    folders, images = [], []
    for path in paths:
        # Shells of Windows leave globs to the program.
        matches = sorted(map(Path, glob(str(path), recursive=True)))
        if path.exists():
            matches = [path]
        if not matches:
            raise Stop(
                f'The image {path} cannot be read: there is no such file or folder'
            )
        for match in matches:
            folders.append(match if match.is_dir() else match.parent)
            images += images_below(match, out) if match.is_dir() else [match]
    root = os.path.commonpath(map(os.path.abspath, folders))
    names = [Path(os.path.relpath(path, root)).with_suffix('') for path in images]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise Stop(
            f'{times} images are named {name} and would overwrite each '
            "other's picture: rename them, or use a different --out for each"
        )
    return {str(name): path for name, path in zip(names, images)}


def images_below(folder: Path, out: Path) -> list[Path]:
    images = []
    for path in sorted(filter(Path.is_file, folder.rglob('*'))):
        parts = path.relative_to(folder).parts
        is_hidden = any(part[0] == '.' or part == '__MACOSX' for part in parts)
        is_result = path.resolve().is_relative_to(out.resolve())
        if path.suffix.lower() in SUFFIXES.split() and not is_hidden and not is_result:
            images.append(path)
    if not images:
        raise Stop(
            f'There is no image in {folder} or below: expected files that end in '
            f'{SUFFIXES}'
        )
    return images


def read_image(path: Path) -> np.ndarray:
    """An image in its display orientation, RGB, uint8, (h, w, 3).

    Prints a note if it has 16 bits and is nearly black.

    Raises:
        BadImage: If it cannot be read.
    """
    try:
        if not path.is_file():
            raise ValueError('not a file')  # reading a pipe would wait forever
        with Image.open(path) as image:
            return colours(image)
    # Each decoder raises different exceptions.
    except Exception as error:
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise BadImage(
            f'The image {path} cannot be read ({reason}); expected a JPEG, PNG or '
            'similar file'
        ) from error


def colours(image: Image.Image) -> np.ndarray:
    """The pixels of an image file, RGB, uint8, (h, w, 3), as OpenCV reads them.

    OpenCV reads the images in training.

    Raises:
        ValueError: If they have neither 8 nor 16 bits.
    """
    upright = ImageOps.exif_transpose(image)
    # Pillow opens 16 bits as I in a PGM and, before version 11, in a PNG.
    is_16_bit = image.mode == 'I' and image.format in ('PNG', 'PPM')
    if is_16_bit or image.mode.startswith('I;16'):
        grey = np.asarray(upright).astype(np.uint16)
        if grey.max() < DARK:
            say(
                f'  note: it has 16 bits, but only values from {grey.min()} to '
                f'{grey.max()} of 65535: it is nearly black here, and in training'
            )
        # Pillow itself would make everything above 255 white.
        upright = Image.fromarray((grey // 256).astype(np.uint8))
    elif image.mode in ('I', 'F'):
        raise ValueError('pixels of 32 bits, expected 8 or 16')
    elif image.format == 'TIFF' and image.mode == 'RGBA':
        bits, alpha = (
            image.tag_v2.get(tag, (0,))[0] for tag in (BITSPERSAMPLE, EXTRASAMPLES)
        )
        if bits == 8 and alpha:
            # In this format alone, what is transparent is black.
            return np.array(upright.convert('RGBa'))[..., :3]
    return np.array(upright.convert('RGB'))


# From image to network


def sample(image: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Sample an image with bilinear interpolation.

    Outside the image, the nearest border pixel is used.

    Args:
        image: Shape (h, w) or (h, w, C).
        ys: Rows to sample (H, ); a whole number is the centre of a pixel.
        xs: Columns to sample (W, ).

    Returns:
        float32, (H, W) or (H, W, C).
    """
    image = image.astype(np.float32)
    for axis, places in enumerate((ys, xs)):
        last = image.shape[axis] - 1
        places = np.clip(places, 0, last)
        low = np.floor(places).astype(int)
        share = (places - low).astype(np.float32)
        share = share.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
        high = np.minimum(low + 1, last)
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def centres(old: int, new: int) -> np.ndarray:
    """Positions in the old row of the pixels of a resized row."""
    return (np.arange(new) + 0.5) * old / new - 0.5


def resize(
    image: np.ndarray,
    h: int,
    w: int,
    backend: str = 'cv2',
    interpolation: str = 'bilinear',
) -> np.ndarray:
    """Resize an image (h', w', 3) to (h, w, 3) as the named library does."""
    if backend == 'pillow':
        method = Image.Resampling[interpolation.upper()]
        return np.asarray(Image.fromarray(image).resize((w, h), method))
    places = (centres(old, new) for old, new in zip(image.shape, (h, w)))
    return sample(image, *places).round().astype(np.uint8)


def take_step(image: np.ndarray, step: str, size, **how: str) -> np.ndarray:
    """Apply one of the steps in the metadata."""
    h, w = image.shape[:2]
    if step == 'crop':
        height, width = min(h, size[0]), min(w, size[1])
        y, x = round((h - height) / 2), round((w - width) / 2)
        return image[y : y + height, x : x + width]
    if step == 'short':
        size = (size, int(size * w / h)) if h <= w else (int(size * h / w), size)
    elif step == 'fit':
        scale = min(max(size) / max(h, w), min(size) / min(h, w))
        size = (int(h * scale + 0.5), int(w * scale + 0.5))
    return resize(image, *size, **how)


def prepare(image: np.ndarray, info: dict) -> np.ndarray:
    """The image as the network takes it, before normalisation: uint8, (h, w, 3)."""
    for step in info['steps']:
        image = take_step(image, **step)
    return image


def normalise(image: np.ndarray, info: dict) -> np.ndarray:
    """Normalise and pad a prepared image (h, w, 3) to an input (1, 3, H, W).

    Raises:
        SystemExit: If it is larger than the fixed size of the model.
    """
    if info['channel_order'] == 'bgr':
        image = image[..., ::-1]
    mean, std = (np.array(info[key], np.float32) for key in ('mean', 'std'))
    image = (image - mean) / std
    h, w = image.shape[:2]
    divisor = info['pad_divisor']
    H, W = info['size'] or (h + -h % divisor, w + -w % divisor)
    if h > H or w > W:
        raise Stop(
            f'The model takes images of at most {H} x {W} pixels, but this one has '
            f'{h} x {w}: export the model with --size {h} {w} or larger, or without '
            '--size'
        )
    image = np.pad(image, ((0, H - h), (0, W - w), (0, 0)))
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


# From network to result


def paste(mask: np.ndarray, box: np.ndarray, h: int, w: int) -> np.ndarray:
    """Place the mask (n, n) of a box in an image (h, w)."""
    x1, y1, x2, y2 = box
    # Sampling extends the border, so pad with zeros to end the mask at the box.
    places = [
        (np.arange(size) + 0.5 - low) / (high - low) * len(mask) + 0.5
        for size, low, high in ((h, y1, y2), (w, x1, x2))
    ]
    return sample(np.pad(mask, 1), *places)


def detections(
    outputs: Arrays,
    seen: tuple[int, int],
    hw: tuple[int, int],
    threshold: float,
    info: dict,
) -> Arrays:
    """The detections with at least a given score, in pixels of the image.

    Args:
        outputs: Outputs for one image.
        seen: Height and width of the prepared image.
        hw: Height and width h, w of the original image.
        threshold: Minimum score.
        info: The metadata.

    Returns:
        N boxes (N, 4) as x1, y1, x2, y2, scores (N, ), labels (N, ) and, if the
        model predicts them, masks (N, h, w).
    """
    # Empty rows have a score of -1.
    rows = outputs['scores'][0] >= max(threshold, 0)
    found = {name: array[0][rows] for name, array in outputs.items()}
    scale = np.array([hw[1] / seen[1], hw[0] / seen[0]] * 2, np.float32)
    found['boxes'] = found['boxes'] * scale
    if 'masks' in found:
        masks = [
            paste(mask, box, *hw) >= info['mask_threshold']
            for mask, box in zip(found['masks'], found['boxes'])
        ]
        found['masks'] = np.reshape(masks, (-1, *hw)).astype(bool)
    return found


def class_map(
    logits: np.ndarray, seen: tuple[int, int], hw: tuple[int, int]
) -> np.ndarray:
    """The class of each pixel of an image.

    Args:
        logits: Shape (K, H, W); the image may have been padded.
        seen: Height and width of the prepared image.
        hw: Height and width of the original image.
    """
    places = [centres(old, new) for old, new in zip(seen, hw)]
    best = np.full(hw, -np.inf, np.float32)
    classes = np.zeros(hw, int)
    # One class at a time, to save memory.
    for i, channel in enumerate(logits):
        score = sample(channel[: seen[0], : seen[1]], *places)
        classes[score > best] = i
        best = np.maximum(best, score)
    return classes


# Pictures


def colour(i: int) -> tuple[int, ...]:
    """A colour for an index, different from those of the adjacent indices."""
    return tuple(int(255 * part) for part in colorsys.hsv_to_rgb(i * 0.618 % 1, 0.8, 1))


def tint(image: np.ndarray, mask: np.ndarray, i: int) -> None:
    """Blend colour ``i`` into an image (h, w, 3) where the mask is set, in place."""
    image[mask] = (image[mask] * 0.5 + np.array(colour(i)) * 0.5).astype(np.uint8)


def write_text(
    picture: Image.Image,
    place: tuple[float, float],
    text: str,
    background: str | tuple[int, ...],
) -> None:
    """Write a text with its upper left corner at a place, or where it fits in."""
    x1, y1, x2, y2 = ImageDraw.Draw(picture).textbbox((1, 1), text)
    label = Image.new('RGB', (int(x2) + 2, int(y2) + 2), background)
    ImageDraw.Draw(label).text((1, 1), text, fill='black')
    label.thumbnail(picture.size)  # smaller if the picture is
    spare = picture.width - label.width, picture.height - label.height
    picture.paste(
        label, tuple(int(min(max(p, 0), most)) for p, most in zip(place, spare))
    )


# The four tasks. Each prints its results and returns a picture.


def classify(model: Model, image: np.ndarray, threshold: float) -> Image.Image:
    inputs = normalise(prepare(image, model.info), model.info)
    scores = model.run(dict(images=inputs))['probabilities'][0]
    best = scores.argsort()[::-1][:TOP]
    lines = [f'{scores[i]:.3f} {model.info["classes"][i]}' for i in best]
    for line in lines:
        say(f'  {line}')
    picture = Image.fromarray(image)
    write_text(picture, (2, 2), '\n'.join(lines), 'white')
    return picture


def detect(model: Model, image: np.ndarray, threshold: float) -> Image.Image:
    seen = prepare(image, model.info)
    inputs = dict(
        images=normalise(seen, model.info), sizes=np.array([seen.shape[:2]], np.float32)
    )
    found = detections(
        model.run(inputs), seen.shape[:2], image.shape[:2], threshold, model.info
    )
    image = image.copy()
    for i, mask in enumerate(found.get('masks', [])):
        tint(image, mask, i)
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for i, (box, score, label) in enumerate(
        zip(found['boxes'], found['scores'], found['labels'])
    ):
        name = model.info['classes'][label]
        corners = ' '.join(f'{side:.1f}' for side in box)
        say(f'  {score:.3f} {name}: {corners}')
        draw.rectangle(box.tolist(), outline=colour(i), width=2)
        write_text(picture, (box[0], box[1] - 12), f'{name} {score:.2f}', colour(i))
    return picture


def segment(model: Model, image: np.ndarray, threshold: float) -> Image.Image:
    seen = prepare(image, model.info)
    logits = model.run(dict(images=normalise(seen, model.info)))['logits'][0]
    classes = class_map(logits, seen.shape[:2], image.shape[:2])
    image = image.copy()
    for i, count in Counter(classes.flatten().tolist()).most_common():
        say(f'  {count / classes.size:6.1%} {model.info["classes"][i]}')
        tint(image, classes == i, i)
    return Image.fromarray(image)


def show_features(model: Model, image: np.ndarray, threshold: float) -> Image.Image:
    inputs = normalise(prepare(image, model.info), model.info)
    h, w = image.shape[:2]
    pictures: list[np.ndarray] = [image]
    for name, maps in model.run(dict(images=inputs)).items():
        say(
            f'  {name}: {" x ".join(map(str, maps.shape[1:]))}, mean '
            f'{maps.mean():.4f}, deviation {maps.std():.4f}'
        )
        if maps.ndim == 4:
            strength = np.square(maps[0]).mean(axis=0) ** 0.5
            strength -= strength.min()
            strength *= 255 / max(strength.max(), 1e-6)
            grey = Image.fromarray(strength.astype(np.uint8)).resize((w, h))
            pictures.append(np.asarray(grey.convert('RGB')))
    return Image.fromarray(np.concatenate(pictures, axis=1))


TASKS = dict(
    classification=classify,
    detection=detect,
    segmentation=segment,
    features=show_features,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path, help='.onnx or .xml file of export.py')
    parser.add_argument(
        'images',
        nargs='+',
        type=Path,
        metavar='IMAGE_OR_FOLDER',
        help='image, folder with images in it or below, or a glob of these, such as '
        "'photos/*.jpg'",
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='minimum score of a detection; default %(default)s',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/predictions'),
        help='folder for the pictures; default %(default)s',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='skip images that cannot be read, list them at the end and exit with '
        'status 1; by default, the first one ends the run',
    )
    return parser.parse_args()


def predict(model: Model, path: Path, threshold: float) -> Image.Image:
    """Print the results for an image file and return the picture.

    Raises:
        BadImage: If it cannot be read or does not fit into memory.
    """
    image = read_image(path)
    try:
        return TASKS[model.info['task']](model, image, threshold)
    except MemoryError as error:
        h, w = image.shape[:2]
        raise BadImage(
            f'The image {path} of {w} x {h} pixels needs more memory than is '
            'available: make it smaller or remove it'
        ) from error


def save(picture: Image.Image, file: Path, out: Path) -> None:
    """Save a picture in a folder.

    Raises:
        Stop: If a link leads out of the folder.
    """
    if not file.parent.resolve().is_relative_to(out.resolve()):
        raise Stop(f'{file.parent} leads out of {out} through a link: remove the link')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # it may be a link
    picture.save(file, 'PNG')


def main() -> None:
    args = parse_args()
    images = find_images(args.images, args.out)
    model = read_model(args.model)
    bad = []
    for name, path in images.items():
        say(f'{path}:')
        try:
            picture = predict(model, path, args.score_thr)
        except BadImage as error:
            if not args.skip_bad:
                raise Stop(str(error)) from error
            bad.append(str(error))
            continue
        file = args.out / f'{name}.png'
        save(picture, file, args.out)
        say(f'  picture: {file}')
    if bad:
        raise Stop(f'{len(bad)} images were skipped:', *bad)


if __name__ == '__main__':
    main()
