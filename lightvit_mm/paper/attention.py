"""Figure 4: where the global tokens look."""

from importlib.util import find_spec
from pathlib import Path

from ..analysis.attention_maps import visualize
from ..analysis.report import Table
from ..config import check_installed, read_config
from ..trained import load_trained
from .options import Options


def figure4(options: Options) -> list[Table]:
    """Global aggregation and broadcast, drawn over images.

    One picture per image, ``figure4_IMAGE.png``: one block, the mean of its
    heads. ``tools/analysis/visualize_attention.py`` draws single heads.

    Raises:
        InferenceError: If the checkpoint or an image cannot be used.
        ModuleNotFoundError: If no image is given and scikit-learn, whose
            sample photographs are the default, is missing.
    """
    images = options.images or sample_photographs()
    cfg = read_config(options.config)
    model = load_trained(cfg, options.checkpoint, options.device)
    table = Table('Figure 4: global attention', ['Image', 'Picture'])
    for image in images:
        picture = f'figure4_{image.stem}.png'
        visualize(model, cfg, image, options.out / picture, options.layer)
        table.rows.append([image.name, picture])
        table.notes.append(f'![{image.stem}]({picture})')
    table.notes.append(
        f'Weights: {Path(options.checkpoint).name}. Upper row: where each '
        'global token gathers from; lower row: which places read from it.'
    )
    return [table]


def sample_photographs() -> list[Path]:
    """The two photographs that scikit-learn has."""
    check_installed('sklearn')
    folder = Path(find_spec('sklearn').origin).parent / 'datasets/images'
    return sorted(folder.glob('*.jpg'))
