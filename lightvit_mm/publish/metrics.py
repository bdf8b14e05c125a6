"""The metrics of a checkpoint, from the log of the run that saved it."""

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

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
        Metrics by name; empty if there is no log, if it does not say at which
        iteration validation ran, or if that was not this epoch or iteration.

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
    if step == 0:  # that of each validation of such a run
        print_log(
            f'{log} does not say at which iteration validation ran, so the metrics of '
            'the checkpoint are unknown. In runs that count iterations, set '
            'default_hooks.logger.log_metric_by_epoch=False before training',
            logger='current',
            level=logging.WARNING,
        )
        return {}
    metrics = {}
    for line in read_text(log).splitlines():
        record = parse_json(line, log)
        # Records of training have the iteration.
        if 'iter' not in record and record['step'] == step:
            metrics.update(record)
    return {key: value for key, value in metrics.items() if key not in _NO_METRICS}
