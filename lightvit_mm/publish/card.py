"""The model card: README.md in Hugging Face's format."""

from typing import NamedTuple

from mmengine.config import Config

from .. import __version__
from ..config import datasets, type_name
from ..model_folder import CLASSES, CONFIG, METRICS, SUMS, WEIGHTS

_TASKS = dict(
    mmpretrain='image-classification',
    mmdet='object-detection',
    mmseg='image-segmentation',
)
_PAGE = """\
---
{data}
---

# {name}

{model} with a LightViT backbone ([paper](https://arxiv.org/abs/2207.05557)): \
{num_parameters:,} parameters, {num_classes} classes. Published with lightvit_mm \
{version}.

## Results

{results}

## Use

```bash
pip install "lightvit_mm[hub]"
python tools/predict.py hf://OWNER/{name} photo.jpg
```

You can give a local copy of this folder in place of `hf://OWNER/{name}`.

## Files

| File | Content |
| --- | --- |
| `{weights}` | The weights{averaged}. |
| `{checkpoint}` | The same weights and the classes, as a checkpoint for OpenMMLab. |
| `{config}` | The config. |
| `{classes}` | Names and colours of the classes, in the order of the model's outputs. |
| `{metrics}` | The results. |
| `{sums}` | The sha256 of each file; `sha256sum -c {sums}` checks them. |
"""


class Facts(NamedTuple):
    """What a model card says.

    Args:
        name: Name of the model.
        checkpoint: Name of the .pth file.
        num_parameters: Number of parameters.
        num_classes: Number of classes.
        metrics: Metrics by name.
        is_averaged: Whether the weights are those that EMAHook averaged.
        license: Identifier of the license, such as apache-2.0, or None.
    """

    name: str
    checkpoint: str
    num_parameters: int
    num_classes: int
    metrics: dict[str, float]
    is_averaged: bool
    license: str | None


def model_card(cfg: Config, facts: Facts) -> str:
    """The text of the card.

    Args:
        cfg: Config of the model.
        facts: What it says.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task = _TASKS.get(cfg.get('default_scope'))
    dataset = next(
        (type_name(slot.cfg) for slot in datasets(cfg) if slot.split == 'val'),
        'unknown',
    )
    data = ModelCardData(
        model_name=facts.name,
        license=facts.license,
        library_name='lightvit_mm',
        pipeline_tag=task,
        tags=['lightvit', 'openmmlab'],
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=dataset,
                dataset_name=dataset,
                metric_type=name,
                metric_value=value,
            )
            for name, value in facts.metrics.items()
        ]
        or None,
    )
    return _PAGE.format(
        data=data.to_yaml(),
        name=facts.name,
        model=type_name(cfg.model),
        num_parameters=facts.num_parameters,
        num_classes=facts.num_classes,
        version=__version__,
        results=_table(facts.metrics),
        averaged=', averaged by EMAHook' if facts.is_averaged else '',
        checkpoint=facts.checkpoint,
        weights=WEIGHTS,
        config=CONFIG,
        classes=CLASSES,
        metrics=METRICS,
        sums=SUMS,
    )


def _table(metrics: dict[str, float]) -> str:
    if not metrics:
        return 'There was no log with results for this checkpoint.'
    rows = ''.join(f'| {name} | {value:g} |\n' for name, value in metrics.items())
    head = '| Metric | Value |\n| --- | --- |\n'
    return f'Measured by validation during training:\n\n{head}{rows}'.rstrip()
