"""The metrics of a checkpoint, from the log of the run that saved it."""

from pathlib import Path

from mmengine.config import Config

from ..files import PathLike, read_text
from ..untrusted import parse_json

_NO_METRICS = ('step', 'time', 'data_time')
_STAMP = len('20260131_235959')  # at the end of experiment_name; names the log's folder


def find_metrics(cfg: Config, meta: dict, checkpoint: PathLike) -> dict[str, float]:
    """What validation measured when a checkpoint was saved.

    Args:
        cfg: Config of the run.
        meta: ``meta`` of the checkpoint.
        checkpoint: The file. The log is read next to it, where mmengine writes it.

    Returns:
        Metrics by name; empty if there is no log, or if validation did not run at
        this epoch or iteration.

    Raises:
        OSError: If the log cannot be read.
        ValueError: If the log is damaged.
    """
    stamp = str(meta.get('experiment_name', ''))[-_STAMP:]
    log = Path(checkpoint).parent / stamp / 'vis_data/scalars.json'
    if not log.is_file():
        return {}
    logger = cfg.get('default_hooks', {}).get('logger') or {}
    step = meta['epoch' if logger.get('log_metric_by_epoch', True) else 'iter']
    metrics = {}
    for line in read_text(log).splitlines():
        record = parse_json(line, log)
        # Records of training have the iteration.
        if 'iter' not in record and record['step'] == step:
            metrics.update(record)
    return {key: value for key, value in metrics.items() if key not in _NO_METRICS}
