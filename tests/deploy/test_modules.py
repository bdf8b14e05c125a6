"""Exported segmentors against mmseg; test_export.py covers the other modules."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from lightvit_mm.trained import network_input

from .common import assert_same

pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_a_segmentor_predicts_what_mmseg_predicts(run, files, photos, suffix):
    from mmseg.apis import inference_model

    cfg, model, path = files('segmentor')
    network = run.read_model(path.with_suffix(suffix))
    model.cfg = cfg
    for photo in photos:
        with DefaultScope.overwrite_default_scope('mmseg'):
            wanted = inference_model(model, str(photo)).pred_sem_seg.data[0]
        seen, images = network_input(model, cfg, photo)
        logits = network.run(dict(images=images.numpy()))['logits']
        assert_same(
            [logits], model.encode_decode(images, [dict(img_shape=images.shape[2:])])
        )
        found = run.class_map(logits[0], seen.shape[:2], wanted.shape)
        assert len(np.unique(wanted)) > 1
        assert (found != wanted.numpy()).mean() < 1e-3
