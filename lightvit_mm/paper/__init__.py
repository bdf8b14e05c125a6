"""The tables and figures of the LightViT paper, reproduced."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Options:
    """Options of ``tools/paper.py``; each experiment reads those it needs.

    Args:
        out: Folder for Markdown and pictures.
        device: Where speed is measured, 'cpu' or 'cuda'.
        amp: Measure in mixed precision (bfloat16 on CPU, float16 on CUDA).
        compile: Measure the models after ``torch.compile``.
        batch_size: Images per batch for throughput.
        rounds: Number of rounds. Each round measures all models in turn.
        config: Config of the model whose attention is drawn.
        checkpoint: Its weights.
        layer: STAGE.BLOCK whose attention is drawn; None draws the last block.
        images: Images to draw it on; without any, two sample photographs.
    """

    out: Path
    device: str = 'cpu'
    amp: bool = False
    compile: bool = False
    batch_size: int = 16
    rounds: int = 5
    config: str = 'lightvit_mm::lightvit_t_8xb128_in1k.py'
    checkpoint: str = 'lightvit://tiny-in1k'
    layer: str | None = None
    images: list[Path] = field(default_factory=list)
