"""Says how to install what is missing."""

from importlib.util import find_spec


def check_installed(module: str) -> None:
    """Raise a ModuleNotFoundError with the pip command if a module is missing."""
    if find_spec(module) is None:
        packages = dict(
            gradio='"lightvit_mm[app]"',
            huggingface_hub='"lightvit_mm[hub]"',
            mmseg='mmsegmentation',
            safetensors='"lightvit_mm[hub]"',
            sklearn='scikit-learn',
        )
        raise ModuleNotFoundError(
            f'{module} is not installed: pip install {packages.get(module, module)}'
        )
