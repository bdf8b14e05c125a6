"""Faults in datasets that are not COCO's."""

import numpy as np
import pytest
from mmengine.registry import DATASETS

from lightvit_mm.check_dataset import any_dataset, check, coco, sources

from .datasets import only, read_config, write_image

VOC = """
<annotation>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <object><name>cat</name><bndbox><xmin>{x1}</xmin><ymin>1</ymin>
    <xmax>{x2}</xmax><ymax>30</ymax></bndbox></object>
</annotation>
"""


@pytest.mark.parametrize(
    'x1, x2, kind',
    [
        (1, 40, None),
        (9, 9, coco.NO_AREA),
        (30, 50, coco.PARTLY_OUTSIDE),
    ],
)
def test_boxes_of_other_formats_are_checked(tmp_path, x1, x2, kind):
    pytest.importorskip('mmdet')
    image = write_image(tmp_path / 'JPEGImages/0.jpg')
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'Annotations/0.xml').write_text(VOC.format(x1=x1, x2=x2))
    (tmp_path / 'train.txt').write_text('0\n')
    dataset = dict(
        type='VOCDataset',
        data_root=str(tmp_path),
        ann_file='train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('cat',)),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    report = check.check(
        read_config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    )
    if kind is None:
        assert report.findings == []
        assert 'train: 1 images, 1 annotations, 1 classes' in str(report)
    else:
        found = only(report, kind, image)
        assert f'instance 0: x, y, width, height [{x1 - 1}, 0,' in found[0]


def test_an_unsupported_dataset_is_a_note():

    class Tensors:
        pass

    report = check.check(
        read_config(dict(train_dataloader=dict(dataset=dict(type=Tensors))))
    )
    assert only(report, any_dataset.NOT_READ, 'train_dataloader.dataset') == [
        Tensors.__name__
    ]


@pytest.mark.parametrize(
    'change, kind',
    [
        (dict(img_suffix='.bmp'), any_dataset.EMPTY),
        (
            dict(data_prefix=dict(img_path='no', seg_map_path='no')),
            any_dataset.NOT_BUILT,
        ),
    ],
)
def test_a_segmentation_set_without_images_is_found(maps, change, kind):
    maps.train().update(change)
    folder = maps.root / maps.train()['data_prefix']['img_path']
    only(maps.check(), kind, folder)


def test_empty_folders_are_found(folders):
    for path in (folders.root / 'val').rglob('*.jpg'):
        path.unlink()
    found = only(folders.check(), any_dataset.NOT_BUILT, folders.root / 'val')
    assert 'Found 0 files' in found[0]


def test_a_label_outside_the_classes_is_found(folders):
    lines = 'a/0.jpg 0\nb/1.jpg 2\n'
    (folders.root / 'val.txt').write_text(lines)
    folders.cfg['val_dataloader']['dataset'].update(
        ann_file='val.txt', metainfo=dict(classes=('a', 'b'))
    )
    found = only(
        folders.check(), any_dataset.UNKNOWN_LABEL, folders.root / 'val/b/1.jpg'
    )
    assert 'label 2' in found[0]


def read_objects(cfg, scope):
    with DATASETS.switch_scope_and_registry(scope) as registry:
        source = sources.find_sources(read_config(cfg), registry)[0]
        return any_dataset.read(source, registry, None)[0].objects


def test_the_objects_of_class_folders_are_their_labels(folders):
    objects = read_objects(folders.cfg, 'mmpretrain')
    assert objects.image.tolist() == [0, 1, 2, 3]
    assert objects.label.tolist() == [0, 0, 1, 1]
    assert np.isnan(objects.area).all()


def test_the_objects_of_a_detection_set_are_its_boxes(tmp_path):
    pytest.importorskip('mmdet')
    for i, (x1, x2) in enumerate([(1, 40), (11, 20)]):
        write_image(tmp_path / f'JPEGImages/{i}.jpg')
        (tmp_path / 'Annotations').mkdir(exist_ok=True)
        (tmp_path / f'Annotations/{i}.xml').write_text(VOC.format(x1=x1, x2=x2))
    (tmp_path / 'train.txt').write_text('0\n1\n')
    dataset = dict(
        type='VOCDataset',
        data_root=str(tmp_path),
        ann_file='train.txt',
        data_prefix=dict(sub_data_root=''),
    )
    objects = read_objects(dict(train_dataloader=dict(dataset=dataset)), 'mmdet')
    assert objects.image.tolist() == [0, 1]
    assert objects.label.tolist() == [7, 7]  # cat
    assert objects.area.tolist() == [39 * 29, 9 * 29]
