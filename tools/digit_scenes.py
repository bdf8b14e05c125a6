"""Write scikit-learn's handwritten digits as two datasets for the demo.

Digits are scattered over scikit-learn's sample photographs, bright with a
dark halo. ``detection`` is a COCO dataset of scenes with exact boxes and masks.
``classification`` has single digits in class folders, as in ImageNet. ``val``
uses digits and halves of the photographs that ``train`` does not contain.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

CLASSES = tuple('0123456789')


class DigitPainter:
    """Paints digits on crops of photographs.

    Args:
        digits: Grey digits (num, 8, 8) from 0 to 16.
        labels: Their values (num, ).
        photos: RGB photographs to crop from.
        seed: Seed of everything random.
    """

    def __init__(
        self,
        digits: np.ndarray,
        labels: np.ndarray,
        photos: list[np.ndarray],
        seed: int,
    ) -> None:
        self.digits = digits
        self.labels = labels
        self.photos = photos
        self.rng = np.random.default_rng(seed)

    def background(self, size: int) -> np.ndarray:
        """A random crop (size, size, 3) of a photograph, mirrored or not."""
        photo = self.photos[self.rng.integers(len(self.photos))]
        y, x = (self.rng.integers(edge - size + 1) for edge in photo.shape[:2])
        crop = photo[y : y + size, x : x + size]
        return crop[:, :: self.rng.choice([-1, 1])].astype(np.float32)

    def paint(
        self, image: np.ndarray, index: int, size: int, corner: tuple[int, int]
    ) -> np.ndarray:
        """Paint one digit into ``image``, in place.

        Args:
            image: Float image (H, W, 3).
            index: Which digit.
            size: Height and width of the digit's cell in pixels.
            corner: Its upper left corner (y, x).

        Returns:
            The digit's mask (H, W) in 0 and 1.
        """
        alpha = np.zeros(image.shape[:2], np.float32)
        digit = cv2.resize(
            self.digits[index].astype(np.float32) / 16,
            (size, size),
            interpolation=cv2.INTER_CUBIC,
        )
        y, x = corner
        alpha[y : y + size, x : x + size] = digit.clip(0, 1)
        halo = cv2.GaussianBlur(
            cv2.dilate(alpha, np.ones((3, 3), np.uint8)), (0, 0), size / 12
        )
        colour = self.rng.uniform(180, 255, 3)
        image *= 1 - 0.8 * halo[..., None]
        image += alpha[..., None] * (colour - image)
        return (alpha > 0.4).astype(np.uint8)


def write_scenes(
    painter: DigitPainter, root: Path, split: str, num_scenes: int, size: int
) -> None:
    """Write scenes of 3 to 8 digits and their COCO annotations."""
    rng = painter.rng
    folder = root / split
    folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in range(num_scenes):
        image = painter.background(size)
        taken = np.zeros((size, size), bool)
        for _ in range(rng.integers(3, 9)):
            side = int(rng.integers(size // 8, size * 56 // 192 + 1))
            y, x = rng.integers(size - side + 1, size=2)
            cell = taken[y : y + side, x : x + side]
            if cell.any():
                continue
            cell[:] = True
            index = rng.integers(len(painter.labels))
            mask = painter.paint(image, index, side, (y, x))
            rle = mask_utils.encode(np.asfortranarray(mask))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=int(painter.labels[index]),
                    bbox=mask_utils.toBbox(rle).tolist(),
                    area=float(mask.sum()),
                    segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
                    iscrowd=0,
                )
            )
        name = f'{image_id:04}.jpg'
        write_image(folder / name, image)
        images.append(dict(id=image_id, file_name=name, height=size, width=size))
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    (root / f'{split}.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def write_class_folders(
    painter: DigitPainter, root: Path, split: str, size: int
) -> None:
    """Write each digit once, filling a crop, into the folder of its class."""
    rng = painter.rng
    for index, label in enumerate(painter.labels):
        image = painter.background(size)
        side = int(rng.integers(size * 3 // 4, size + 1))
        painter.paint(image, index, side, rng.integers(size - side + 1, size=2))
        folder = root / split / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f'{index:04}.jpg', image)


def write_image(path: Path, image: np.ndarray) -> None:
    image = image.round().clip(0, 255).astype(np.uint8)
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f'{path} cannot be written')


def write_datasets(
    root: Path,
    num_train: int,
    num_val: int,
    scene_size: int,
    crop_size: int,
    seed: int = 0,
) -> None:
    """Write both datasets below ``root``.

    Args:
        root: Folder, which must not exist.
        num_train: Scenes to train on.
        num_val: Scenes to evaluate on.
        scene_size: Height and width of a scene in pixels.
        crop_size: Height and width of a single digit's image.
        seed: Seed of the scenes and crops.
    """
    digits, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        digits.reshape(-1, 8, 8), labels, test_size=0.2, random_state=0, stratify=labels
    )
    photos = load_sample_images().images
    for i, split in enumerate(('train', 'val')):
        halves = [np.array_split(photo, 2, axis=1)[i] for photo in photos]
        painter = DigitPainter(parts[i], parts[i + 2], halves, seed + i)
        write_scenes(
            painter, root / 'detection', split, (num_train, num_val)[i], scene_size
        )
        write_class_folders(painter, root / 'classification', split, crop_size)
