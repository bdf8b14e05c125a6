"""Boxes and masks of COCO files."""

import copy

import numpy as np
import pytest

from lightvit_mm.check_dataset import coco, masks

from .datasets import HEIGHT, WIDTH, only

POLYGONS = (
    # A triangle, an object of two parts, a small one and one at the border.
    [[18, 8, 34, 8, 26, 22]],
    [[2, 2, 8, 2, 8, 9], [12.5, 4, 20, 4, 20, 18.5]],
    [[30, 20, 33, 20, 33, 22, 30, 22]],
    [[25, 3, 40, 3, 40, 30]],
)


def bitmap(polygons):
    """Set pixels of polygons, as pycocotools draws them."""
    from pycocotools import mask

    return mask.decode(mask.merge(mask.frPyObjects(polygons, HEIGHT, WIDTH)))


def uncompressed(pixels):
    """The run-length encoding of a mask as lengths, which start with zeros."""
    counts, value = [0], 0
    for pixel in pixels.ravel(order='F').tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return dict(counts=counts, size=list(pixels.shape))


def compressed(pixels):
    from pycocotools import mask

    code = mask.encode(np.asfortranarray(pixels))
    return dict(code, counts=code['counts'].decode())


def box_of_points(polygons):
    points = np.concatenate([np.reshape(x, (-1, 2)) for x in polygons])
    return [*points.min(axis=0), *np.ptp(points, axis=0)]


def box_of_pixels(polygons):
    y, x = bitmap(polygons).nonzero()
    return [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]


def set_objects(pets, change=lambda box: box, encode=None):
    """Give each image four objects with boxes around their masks, then change them."""
    for data in pets.data.values():
        first = data['annotations'][0]
        data['annotations'] = []
        for image in data['images']:
            for i, polygons in enumerate(POLYGONS):
                box = box_of_pixels if encode else box_of_points
                data['annotations'].append(
                    dict(
                        copy.deepcopy(first),
                        id=len(data['annotations']) + 1,
                        image_id=image['id'],
                        category_id=(3, 7)[i % 2],
                        bbox=[float(x) for x in change(box(polygons))],
                        segmentation=encode(bitmap(polygons)) if encode else polygons,
                    )
                )


def to_corners(box):
    x, y, w, h = box
    return [x, y, x + w, y + h]


def widened(box, share):
    """A box that is larger on each side."""
    x, y, w, h = box
    return [x - share * w, y - share * h, (1 + 2 * share) * w, (1 + 2 * share) * h]


@pytest.mark.parametrize('encode', [None, uncompressed, compressed])
@pytest.mark.parametrize(
    'change',
    [
        lambda box: box,
        # The last pixel counted or not, or rounded to whole pixels.
        lambda box: np.add(box, [0, 0, 1, 1]),
        lambda box: np.subtract(box, [0, 0, 1, 1]),
        lambda box: np.subtract(box, [1, 1, 0, 0]),
        lambda box: np.round(box),
        # Drawn 10 % larger on each side.
        lambda box: widened(box, 0.1),
    ],
)
def test_boxes_around_their_masks_are_fine(pets, change, encode):
    set_objects(pets, change, encode)
    kinds = {x.kind for x in pets.check().findings}
    assert kinds <= {coco.PARTLY_OUTSIDE}


@pytest.mark.parametrize('encode', [None, uncompressed, compressed])
def test_corners_in_place_of_sizes_are_found(pets, encode):
    set_objects(pets, to_corners, encode)
    found = [x for x in pets.check().findings if x.kind == coco.MISFIT]
    assert [x.file for x in found] == [str(pets.root / f'{s}.json') for s in pets.data]
    # Near the left upper corner both are nearly the same, and the right border
    # cuts the last box.
    first, *examples = found[0].entry.splitlines()
    assert first == '6 of 12 boxes (50%)'
    assert len(examples) == 3
    assert 'annotation 1 of 0.jpg: bbox [18.0, 8.0, 34.0, 2' in examples[0]


def test_one_box_for_all_masks_is_found(pets):
    set_objects(pets, lambda box: [2, 2, 6, 6])
    report = pets.check()
    found = [x for x in report.findings if x.kind == coco.MISFIT]
    assert len(found) == 2 and found[0].entry.startswith('12 of 12 boxes (100%)')
    assert 'that of the mask is [18.0, 8.0, 16.0, 14.0]' in found[0].entry
    assert report.has_faults


def test_few_boxes_that_do_not_fit_are_a_note(pets):
    set_objects(pets)
    pets.data['train']['annotations'][5]['bbox'] = [30, 20, 8, 8]
    found = only(pets.check(), coco.SOME_MISFIT, pets.root / 'train.json')
    assert found[0].startswith('1 of 12 boxes (8%)\n    annotation 6 of 1.jpg')


def test_boxes_of_crowds_need_not_fit(pets):
    set_objects(pets)
    pets.data['train']['annotations'][0].update(bbox=[30, 20, 8, 8], iscrowd=1)
    assert pets.check().findings == []


def test_boxes_are_compared_without_a_model_for_masks_too(pets):
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['pipeline'] = [dict(type='LoadImageFromFile')]
    pets.cfg['val_evaluator']['metric'] = 'bbox'
    set_objects(pets, lambda box: [2, 2, 6, 6])
    assert {x.kind for x in pets.check().findings} == {coco.MISFIT}
    for data in pets.data.values():
        for annotation in data['annotations']:
            annotation['segmentation'] = []
    # Equal boxes are all that is left of them.
    assert {x.kind for x in pets.check().findings} == {coco.REPEATED}


@pytest.mark.parametrize('cuts_box', [False, True])
@pytest.mark.parametrize('cuts_mask', [False, True])
def test_objects_cut_by_the_border_of_a_tile_fit(pets, cuts_box, cuts_mask):
    """The object reaches from x = -30 to 10; the tile shows a quarter of it."""
    set_objects(pets)
    left = -30 * (not cuts_mask)
    x = -30 * (not cuts_box)
    pets.data['train']['annotations'][0].update(
        bbox=[x, 5, 10 - x, 20],
        segmentation=[[left, 5, 10, 5, 10, 25, left, 25]],
    )
    kinds = {x.kind for x in pets.check().findings}
    assert kinds == ({coco.PARTLY_OUTSIDE} if not cuts_box else set())


@pytest.mark.parametrize(
    'counts', [[-1, 1201], [0, WIDTH * HEIGHT + 1], [0.5, 1199.5], ['0', '9'], None]
)
def test_impossible_run_lengths_are_found(pets, counts):
    pets.data['train']['annotations'][2]['segmentation'] = dict(
        counts=counts, size=[HEIGHT, WIDTH]
    )
    only(pets.check(), masks.BAD_RLE, pets.root / 'train.json')


def test_bounds_of_random_masks_equal_those_of_their_pixels():
    pytest.importorskip('pycocotools')
    rng = np.random.default_rng(0)
    codes, boxes = [], []
    for i in range(60):
        pixels = (rng.random((HEIGHT, WIDTH)) < 0.004).astype(np.uint8)
        pixels[rng.integers(HEIGHT), rng.integers(WIDTH)] = 1
        y, x = pixels.nonzero()
        codes.append((uncompressed, compressed)[i % 2](pixels))
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    found = masks.bounds([codes[0], POLYGONS[1], *codes[1:]])
    np.testing.assert_array_equal(np.delete(found, 1, axis=0), boxes)
    np.testing.assert_array_equal(found[1], [2, 2, 20, 18.5])
