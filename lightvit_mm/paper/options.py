"""What a user may choose for the paper's experiments."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Options:
    """Options of ``tools/paper.py``; each experiment reads those it needs.

    Args:
        out: Folder for Markdown and pictures.
        device: Where speed is measured, 'cpu' or 'cuda'.
        amp: Measure in mixed precision (bfloat16 on CPU, float16 on CUDA).
        compile: Measure what ``torch.compile`` makes of the models.
        batch_size: Images of a batch when throughput is measured.
        rounds: Rounds in which all models are measured in turn.
        config: Config whose attention is drawn.
        checkpoint: Its weights.
        layer: STAGE.BLOCK whose attention is drawn; the last block if None.
        images: The images to draw it on; two sample photographs if empty.
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
