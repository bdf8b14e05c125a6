"""From a checkpoint and images to pictures and one COCO file."""

from datetime import datetime
from pathlib import Path

from mmengine.config import Config
from rich.progress import track

from .. import __version__
from ..files import PathLike, written_whole
from .coco import CocoStream
from .sources import open_source
from .tasks import make_task
from .trained import load_trained

FILE = 'predictions.json'


def predict(
    cfg: Config,
    checkpoint: PathLike,
    source: PathLike,
    out: PathLike,
    score_thr: float = 0.3,
    device: str = 'cpu',
) -> int:
    """Predict, draw and describe all that is in images or a video.

    It writes ``out``/pictures, of a segmentor also ``out``/masks, and last of
    all ``out``/predictions.json. One image at a time is held in memory.

    Args:
        cfg: Config of any of the three libraries.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        source: As for :func:`lightvit_mm.prediction.sources.open_source`.
        out: Folder for the results. Files that are there are replaced.
        score_thr: Score that a detection has to exceed to be drawn and
            written.
        device: Where the model runs.

    Returns:
        The number of images or frames.

    Raises:
        ValueError: If the source, the checkpoint or the config cannot be
            used.
        OSError: If the source is not there, or a file cannot be written.
        ModuleNotFoundError: If a package is missing.
    """
    source, out = Path(source), Path(out)
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr={score_thr} should be in 0 to 1')
    frames = open_source(source, out)
    model = load_trained(cfg, checkpoint, device)
    task = make_task(model, cfg, score_thr)
    info = dict(
        description=f'Predictions by lightvit_mm {__version__}',
        date_created=datetime.now().isoformat(timespec='seconds'),
        config=str(cfg.filename),
        checkpoint=str(checkpoint),
        source=str(source),
    )

    _make_folder(out)
    # One that is there is about the pictures that are replaced now.
    (out / FILE).unlink(missing_ok=True)
    with written_whole(out / FILE) as draft, frames.drawn(out) as write:
        with open(draft, 'w') as file:
            coco = CocoStream(file, info, model.dataset_meta['classes'])
            for name, image in track(frames, 'Predicting'):
                sample = task.predict(image)
                coco.add(name, image.shape[:2], task.annotations(sample))
                write(name, task.draw(image, sample), task.mask(sample))
            coco.close()
    return len(coco.images)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f'The folder {out} for the results cannot be made '
            f'({error.strerror}): name another'
        ) from error
