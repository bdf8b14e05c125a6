"""Export models to files for onnxruntime, OpenVINO and plain PyTorch."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..files import PathLike, written_whole
from ..installed import check_installed
from ..models.layers import HW
from .metadata import describe, fixed_size, preprocessing_steps
from .modules import (
    PARTS,
    Backbone,
    Classifier,
    Exportable,
    ExportError,
    Segmentor,
)
from .sessions import import_openvino

# The name under which a file stores its metadata, as JSON.
KEY = 'lightvit_mm'
SUFFIXES = dict(onnx='.onnx', openvino='.xml', pt2='.pt2', torchscript='.pt')
# Height and width of example images for a network that takes any size.
ANY_SIZE = (128, 160)
OTHER_SIZE = (96, 224)


def export(
    model: nn.Module,
    cfg: Config,
    path: PathLike,
    format: str = 'onnx',
    size: HW | None = None,
    part: str = 'model',
) -> HW | None:
    """Write a model to a file that another program can run.

    The file takes a batch of any number of normalised images. It contains the
    metadata of :mod:`lightvit_mm.deploy.metadata`.

    Args:
        model: Model of ``cfg``, for example from
            :func:`lightvit_mm.trained.load_trained`.
        cfg: Config of mmpretrain, mmdet or mmseg.
        path: The file. OpenVINO stores the weights next to it, in a .bin file.
            Existing files are replaced only if the export succeeds.
        format: 'onnx', 'openvino', 'torchscript' or 'pt2'. :data:`SUFFIXES` lists
            how their files end.
        size: Fixed height and width of the images. By default they may vary,
            except for a classifier whose test pipeline fixes them. pt2 always
            needs a fixed size, from the pipeline or from this argument.
        part: 'model', or 'backbone' for only the LightViT.

    Returns:
        The fixed height and width of the images, None if they may vary.

    Raises:
        ExportError: If the model cannot be exported, or an argument is invalid.
        ModuleNotFoundError: If the format needs a package that is not installed.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    check_name(path, format)
    if size is not None and min(size) < 1:
        raise ExportError(
            f'size={tuple(size)} should be a height and width of at least one pixel'
        )
    num_channels = cfg.model.get('backbone', {}).get('in_channels', 3)
    if num_channels != 3:
        raise ExportError(
            f'The model takes images of {num_channels} channels (in_channels of its '
            'backbone), but only models for three can be exported'
        )
    module = take(model, cfg, part)
    if size is None and (module.task == 'classification' or format == 'pt2'):
        size = fixed_size(preprocessing_steps(cfg))
    if size is None and format == 'pt2':
        raise ExportError(
            'pt2 needs a fixed height and width, and the test pipeline does not '
            'fix them: set size (--size H W)'
        )
    text = json.dumps(describe(module, model, cfg, size))
    write = dict(
        onnx=_write_onnx,
        openvino=_write_openvino,
        torchscript=_write_torchscript,
        pt2=_write_pt2,
    )[format]
    try:
        with torch.no_grad():
            if size is None:
                _check_any_size(module)
            write(module, module.example(*(size or ANY_SIZE)), path, size is None, text)
    except (ExportError, ModuleNotFoundError, OSError):
        raise
    # Each exporter raises different exceptions.
    except Exception as error:
        reason = str(error).strip().partition('\n')[0]
        raise ExportError(
            f'This {type(model).__name__} cannot be written as {format} '
            f'({type(error).__name__}: {reason}); try one of '
            f'{", ".join(f for f in SUFFIXES if f != format)}'
        ) from error
    return size


def take(model: nn.Module, cfg: Config, part: str = 'model') -> Exportable:
    """The part of a model that is to be exported.

    Args:
        model: Model of mmpretrain, mmdet or mmseg.
        cfg: Config of the model.
        part: 'model', or 'backbone' for only its LightViT.

    Raises:
        ExportError: If models of this type cannot be exported.
    """
    if part not in PARTS:
        raise ExportError(f'part={part!r} should be one of {PARTS}')
    if part == 'backbone':
        return Backbone(model)
    library = cfg.get('default_scope')
    if library == 'mmpretrain':
        return Classifier(model)
    if library == 'mmseg':
        return Segmentor(model)
    if library == 'mmdet':
        # Imported here because the other models do not need mmdet.
        from .detector import MaskRCNN

        return MaskRCNN(model)
    raise ExportError(
        f'default_scope={library!r} of the config should be mmpretrain, mmdet '
        'or mmseg; --part backbone exports the backbone of any library'
    )


def check_name(path: Path, format: str) -> None:
    """Raise ExportError if a format is unknown or does not fit the suffix."""
    if format not in SUFFIXES:
        raise ExportError(f'format={format!r} should be one of {tuple(SUFFIXES)}')
    if format == 'pt2' and torch.__version__ < '2.2':
        raise ExportError(
            f'pt2 needs PyTorch 2.2 or later, not {torch.__version__}; use '
            'torchscript instead'
        )
    if path.suffix != SUFFIXES[format]:
        raise ExportError(
            f'{path} should end in {SUFFIXES[format]}, as files of format {format} do'
        )


def to_onnx(
    module: nn.Module, images: Tensor, path: Path, dynamic_size: bool = False
) -> None:
    """Write any module to an ONNX file, without metadata.

    Args:
        module: Module that takes images (B, C, h, w) and returns a tensor or a
            tuple or list of tensors, batch first. It is set to evaluation mode.
        images: Example input for tracing.
        path: The file. An existing one is replaced only if the export succeeds.
        dynamic_size: Whether h and w may differ from those of ``images``. B
            always may.

    Raises:
        ModuleNotFoundError: If onnx is not installed.
    """
    with torch.no_grad():
        outputs = module.eval()(images)
    count = 1 if isinstance(outputs, Tensor) else len(outputs)
    with written_whole(Path(path)) as draft:
        _trace_onnx(
            module,
            (images,),
            draft,
            dynamic_size,
            ['images'],
            [f'output{i}' for i in range(count)],
        )


def onnx_to_openvino(source: Path, target: Path) -> None:
    """Convert an ONNX file in full precision, with its metadata.

    Args:
        source: ONNX file.
        target: The .xml file to write. A .bin file is written next to it. Existing
            files are replaced only if the conversion succeeds.
    """
    openvino = import_openvino()
    model = openvino.convert_model(source)
    with written_whole(target, '.bin') as draft:
        openvino.save_model(model, draft, compress_to_fp16=False)


def _check_any_size(module: Exportable) -> None:
    """Raise ExportError if a trace works only for the size of its example."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        traced = torch.jit.trace(module, module.example(*ANY_SIZE), check_trace=False)
    other = module.example(*OTHER_SIZE, batch=1)
    try:
        torch.testing.assert_close(traced(*other), module(*other))
    except (AssertionError, RuntimeError) as error:
        raise ExportError(
            'The trace of this model works for one height and width only: set '
            'them with size (--size H W)'
        ) from error


def _trace_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    dynamic_size: bool,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    check_installed('onnx')
    axes = {name: {0: 'batch'} for name in (*inputs, *outputs)}
    if dynamic_size:
        axes['images'].update({2: 'height', 3: 'width'})
    # Use the exporter that traces, the only one before PyTorch 2.5. Before 2.2 it
    # wrote some operators of opset 18 as those of opset 17.
    tracer = dict(dynamo=False) if torch.__version__ >= '2.5' else {}
    opset = 18 if torch.__version__ >= '2.2' else 17
    with warnings.catch_warnings():
        # The warnings are about input checks, which the file does not contain.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        torch.onnx.export(
            module,
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=opset,
            **tracer,
        )


def _write_onnx(
    module: Exportable,
    example: tuple[Tensor, ...],
    path: Path,
    dynamic_size: bool,
    text: str,
) -> None:
    check_installed('onnx')
    import onnx

    with written_whole(path) as draft:
        _trace_onnx(module, example, draft, dynamic_size, module.inputs, module.outputs)
        model = onnx.load(draft)
        onnx.helper.set_model_props(model, {KEY: text})
        onnx.save(model, draft)


def _write_openvino(
    module: Exportable,
    example: tuple[Tensor, ...],
    path: Path,
    dynamic_size: bool,
    text: str,
) -> None:
    check_installed('openvino')
    with TemporaryDirectory() as folder:
        source = Path(folder, 'model.onnx')
        _write_onnx(module, example, source, dynamic_size, text)
        onnx_to_openvino(source, path)


def _write_torchscript(
    module: Exportable,
    example: tuple[Tensor, ...],
    path: Path,
    dynamic_size: bool,
    text: str,
) -> None:
    with written_whole(path) as draft, warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        traced = torch.jit.trace(module, example, check_trace=False)
        torch.jit.save(traced, str(draft), _extra_files={KEY: text})


def _write_pt2(
    module: Exportable,
    example: tuple[Tensor, ...],
    path: Path,
    dynamic_size: bool,
    text: str,
) -> None:
    batch = torch.export.Dim('batch')
    program = torch.export.export(
        module, example, dynamic_shapes=[{0: batch} for _ in example]
    )
    with written_whole(path) as draft:
        torch.export.save(program, draft, extra_files={KEY: text})
