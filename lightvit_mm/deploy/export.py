"""Models as files for other runtimes."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..config import check_installed
from ..files import PathLike, written_whole
from ..models.lightvit import HW
from .detector import MaskRCNN
from .metadata import describe, fixed_size, preprocessing_steps
from .modules import (
    PARTS,
    Backbone,
    Classifier,
    Exportable,
    ExportError,
    Segmentor,
)

# Where the file keeps its metadata, as JSON.
KEY = 'lightvit_mm'
SUFFIXES = dict(onnx='.onnx', openvino='.xml', pt2='.pt2', torchscript='.pt')
# Images of no particular size, for a network that takes any.
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
    """Write a model as a file that another program can run.

    It takes normalised images and describes itself
    (:mod:`lightvit_mm.deploy.metadata`). The number of images may vary.

    Args:
        model: Model of ``cfg``, as of
            :func:`lightvit_mm.trained.load_trained`.
        cfg: Config of any of the three libraries.
        path: The file; OpenVINO's weights lie beside it, in one that ends in
            .bin. Files that are there are replaced when all went well.
        format: 'onnx', 'openvino', 'torchscript' or 'pt2', whose files end as
            in :data:`SUFFIXES`.
        size: Height and width of the images. By default they may vary, unless
            it is a classifier whose test pipeline gives all images one size.
            pt2 always needs one, from there or from here.
        part: 'model', or 'backbone' for the LightViT alone.

    Returns:
        The height and width that the file is bound to, None if to none.

    Raises:
        ExportError: If the model cannot be exported, or an argument is none
            of those.
        ModuleNotFoundError: If the format needs a package that is not there.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    check_name(path, format)
    if size is not None and min(size) < 1:
        raise ExportError(
            f'size={tuple(size)} should be a height and a width of at least one pixel'
        )
    module = take(model, cfg, part)
    if size is None and (module.task == 'classification' or format == 'pt2'):
        size = fixed_size(preprocessing_steps(cfg))
    if size is None and format == 'pt2':
        raise ExportError(
            'pt2 holds a network at one height and width, and the test '
            'pipeline leaves them open: name them with size (--size H W)'
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
    # Each exporter has errors of its own.
    except Exception as error:
        reason = str(error).strip().partition('\n')[0]
        raise ExportError(
            f'This {type(model).__name__} cannot be written as {format} '
            f'({type(error).__name__}: {reason}); expected one of '
            f'{", ".join(f for f in SUFFIXES if f != format)} to do'
        ) from error
    return size


def take(model: nn.Module, cfg: Config, part: str = 'model') -> Exportable:
    """What can be exported of a model.

    Args:
        model: Model of mmpretrain, mmdet or mmseg.
        cfg: Its config.
        part: 'model' for all of it, 'backbone' for its LightViT alone.

    Raises:
        ExportError: If it is not of a kind that can be exported.
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
        return MaskRCNN(model)
    raise ExportError(
        f'default_scope={library!r} of the config should be mmpretrain, mmdet '
        'or mmseg; --part backbone exports a backbone of any library'
    )


def _check_any_size(module: Exportable) -> None:
    """Raise ExportError if a trace of a module is bound to its example."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        traced = torch.jit.trace(module, module.example(*ANY_SIZE), check_trace=False)
    other = module.example(*OTHER_SIZE, batch=1)
    try:
        torch.testing.assert_close(traced(*other), module(*other))
    except (AssertionError, RuntimeError) as error:
        raise ExportError(
            'A part of this model binds its trace to one height and width: '
            'name them with size (--size H W)'
        ) from error


def check_name(path: Path, format: str) -> None:
    """Raise ExportError if a file of that name and format cannot be."""
    if format not in SUFFIXES:
        raise ExportError(f'format={format!r} should be one of {tuple(SUFFIXES)}')
    if format == 'pt2' and torch.__version__ < '2.2':
        raise ExportError(
            'pt2 needs PyTorch 2.2 or later, and this is '
            f'{torch.__version__}; expected torchscript to do'
        )
    if path.suffix != SUFFIXES[format]:
        raise ExportError(
            f'{path} should end in {SUFFIXES[format]}, as files of format {format} do'
        )


def to_onnx(
    module: nn.Module, images: Tensor, path: Path, dynamic_size: bool = False
) -> None:
    """Write any module as an ONNX file, without metadata.

    Args:
        module: Module that takes images (B, C, h, w) and returns a tensor, or
            a tuple or list of them, batch first. It is put in evaluation
            mode.
        images: Example that the module is traced with.
        path: The file. One that is there is replaced when all went well.
        dynamic_size: Whether h and w may differ from those of ``images``;
            B may always.

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
    # The exporter that traces. Before PyTorch 2.5 there was no other, and
    # before 2.2 it wrote some operators of opset 18 as those of 17.
    tracer = dict(dynamo=False) if torch.__version__ >= '2.5' else {}
    opset = 18 if torch.__version__ >= '2.2' else 17
    with warnings.catch_warnings():
        # They are about checks of the input, which the file has not.
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


def onnx_to_openvino(source: Path, target: Path) -> None:
    """Convert an ONNX file in full precision, with its metadata.

    Args:
        source: ONNX file.
        target: File to write, .xml, beside which a .bin will lie. Files that
            are there are replaced when all went well.
    """
    import openvino

    model = openvino.convert_model(source)
    with written_whole(target, '.bin') as draft:
        openvino.save_model(model, draft, compress_to_fp16=False)


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
