import pytest

from lightvit_mm.config import read_config
from lightvit_mm.publish.publish import publish

from ..predict.models import FRUITS, classifier, detector, save, segmentor


def segmentor_with_visualizer():
    """MMSegInferencer needs the visualizer."""
    cfg = segmentor()
    cfg.visualizer = dict(type='SegLocalVisualizer', name='visualizer')
    return cfg


KINDS = dict(mmpretrain=classifier, mmdet=detector, mmseg=segmentor_with_visualizer)


class Model:
    """A saved model and its published folder.

    Args:
        scope: Its library.
        saved: Folder with config.py and model.pth.
        published: What publish.py makes of it.
    """

    def __init__(self, scope, saved, published):
        self.scope = scope
        self.config = saved / 'config.py'
        self.checkpoint = saved / 'model.pth'
        self.published = published


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """A model of each library, made when it is first needed."""
    made = {}

    def make(scope):
        pytest.importorskip(scope)
        if scope not in made:
            saved = tmp_path_factory.mktemp(scope)
            save(KINDS[scope](), saved, dataset_meta=dict(classes=FRUITS))
            model = Model(scope, saved, saved / f'{scope}-fruits')
            publish(read_config(str(model.config)), model.checkpoint, model.published)
            made[scope] = model
        return made[scope]

    return make


@pytest.fixture(params=list(KINDS))
def model(request, models):
    return models(request.param)


@pytest.fixture
def small_model(models):
    """The one that is built fastest."""
    return models('mmpretrain')
