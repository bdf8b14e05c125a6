"""Labels are inside the picture."""

import numpy as np
import pytest
import torch
from mmengine.visualization import Visualizer

from lightvit_mm.config import read_config
from lightvit_mm.predict.labels import keep_labels_inside
from lightvit_mm.predict.tasks import make_task
from lightvit_mm.trained import image_pipeline, load_trained

TEXT = 'banana: 98.7'


def ink(place, text=TEXT, hw=(100, 240), **options):
    """Where a label at x, y changes a white picture."""
    visualizer = Visualizer()
    keep_labels_inside(visualizer)
    visualizer.set_image(np.full((*hw, 3), 255, np.uint8))
    background = dict(facecolor='black', pad=1, edgecolor='none')
    visualizer.draw_texts(
        text, np.array(place), font_sizes=13, bboxes=background, **options
    )
    return (visualizer.get_image() < 128).all(axis=2)


def extent(ink):
    return [np.ptp(np.flatnonzero(ink.any(axis=axis))) + 1 for axis in (0, 1)]


@pytest.mark.parametrize('place', [(0, 0), (238, 0), (-9, 98), (239, 99), (180, -40)])
@pytest.mark.filterwarnings('ignore:.*text is out of bounds')
@pytest.mark.parametrize('alignment', ['left', 'center'])
def test_a_label_at_the_border_is_as_large_as_in_the_middle(place, alignment):
    whole = ink((120, 50), horizontal_alignments='center')
    moved = ink(place, horizontal_alignments=alignment)
    np.testing.assert_allclose(extent(moved), extent(whole), atol=1)


def test_a_label_that_fits_stays_where_it_is():
    rows, columns = ink((30, 40)).nonzero()
    assert abs(rows.min() - 40) <= 3 and abs(columns.min() - 30) <= 3


@pytest.mark.parametrize('hw', [(60, 70), (12, 300), (16, 16)])
def test_a_label_larger_than_the_picture_is_made_smaller(hw):
    label = ink((5, 5), 'a long name: 98.7', hw)
    assert label.any()
    border = [label[0], label[-1], label[:, 0], label[:, -1]]
    assert not np.concatenate(border).any()


@pytest.mark.parametrize('text', [r'$\foo$: 98.7', '$x^2$: 98.7', '$5 or $6: 98.7'])
def test_a_name_with_dollar_signs_is_not_mathematics(text):
    # A letter of a similar width in the place of each dollar sign.
    plain = extent(ink((120, 50), text.replace('$', 'S')))
    np.testing.assert_allclose(extent(ink((120, 50), text)), plain, atol=5)


def test_a_very_long_name_is_shortened():
    name = 'a' * 50 + 'b' * 100_000
    expected = 'a' * 50 + '...' + 'b' * 44 + ': 98.7'
    np.testing.assert_array_equal(ink((5, 5), f'{name}: 98.7'), ink((5, 5), expected))


@pytest.fixture
def task(trained, tmp_path):
    def make(kind, name='banana'):
        cfg = read_config(str(trained[kind] / 'config.py'))
        model = load_trained(cfg, trained[kind] / 'model.pth')
        model.dataset_meta['classes'] = [name] * 7
        return make_task(model, cfg, image_pipeline(cfg)[1], 0.3)

    return make


def test_a_detector_writes_whole_labels(task):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    task = task('detector')

    def dark(*box):
        """The number of pixels of the label's background."""
        found = InstanceData(
            bboxes=torch.tensor([box], dtype=torch.float),
            scores=torch.tensor([0.9]),
            labels=torch.tensor([1]),
        )
        sample = DetDataSample(pred_instances=found, metainfo=dict(ori_shape=(99, 180)))
        task.inferencer.visualizer.bbox_color = (255, 255, 0)
        picture = task.draw(np.full((99, 180, 3), 255, np.uint8), sample)
        return (picture < 80).all(axis=2).sum()

    middle = dark(50, 40, 110, 95)
    assert middle > 200
    # The left side of the label is at that of the box.
    assert dark(150, 10, 178, 90) == pytest.approx(middle, rel=0.1)
    assert dark(20, 92, 120, 98) == pytest.approx(middle, rel=0.1)


def test_a_segmentor_writes_whole_names(task):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    task = task('segmentor')
    task.inferencer.model.dataset_meta['palette'] = [
        (255, 255, 255),
        *[(0, 0, 255)] * 6,
    ]
    classes = np.zeros((99, 180), int)
    classes[-3:, -20:] = 1
    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(classes)[None]))
    picture = task.draw(np.full((99, 180, 3), 255, np.uint8), sample).astype(int)
    # The name of class 1 has its colour as background, in BGR.
    label = (picture[..., 0] > 240) & (picture[..., 1:] < 20).all(axis=2)
    width, height = extent(label)
    assert width > 25 and height > 8
    rows, columns = label.nonzero()
    assert rows.max() < 98 and columns.max() < 179


def test_a_classifier_writes_the_whole_name(task):
    from mmpretrain.structures import DataSample

    sample = DataSample().set_pred_label(1).set_pred_score(torch.eye(7)[1])
    task = task('classifier', 'a name of a class that is longer than the picture')
    picture = task.draw(np.full((240, 240, 3), 255, np.uint8), sample)
    changed = (picture != 255).any(axis=2)
    assert changed[:, 180:].any() and not changed[:, -1].any()
