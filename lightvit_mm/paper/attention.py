"""Figure 4: where the global tokens look."""

from importlib.util import find_spec
from pathlib import Path

from ..analysis.attention_maps import visualize
from ..analysis.report import Table
from ..config import read_config
from ..installed import check_installed
from ..trained import load_trained
from . import Options


def figure4(options: Options) -> list[Table]:
    """Figure 4: global aggregation and broadcast, drawn over images.

    Draws one picture per image, ``figure4_IMAGE.png``. It shows one block, averaged
    over its heads. ``tools/analysis/visualize_attention.py`` draws single heads.

    Raises:
        InferenceError: If the checkpoint or an image cannot be used.
        ModuleNotFoundError: If no image is given and scikit-learn is missing.
            Its sample photographs are the default images.
    """
    images = options.images or sample_photographs()
    cfg = read_config(options.config)
    model = load_trained(cfg, options.checkpoint, options.device, with_classes=False)
    table = Table('Figure 4: global attention', ['Image', 'Picture'])
    for image in images:
        picture = f'figure4_{image.stem}.png'
        visualize(model, cfg, image, options.out / picture, options.layer)
        table.rows.append([image.name, picture])
        table.notes.append(f'![{image.stem}]({picture})')
    table.notes.append(
        f'Weights: {Path(options.checkpoint).name}. The image is on the left, '
        'followed by one column per global token. The upper row shows where the '
        'token gathers from, the lower row which places read from it, from blue '
        '(least) to red (most).'
    )
    return [table]


def sample_photographs() -> list[Path]:
    """The two photographs that come with scikit-learn."""
    check_installed('sklearn')
    folder = Path(find_spec('sklearn').origin).parent / 'datasets/images'
    return sorted(folder.glob('*.jpg'))
