"""Open exported files in their runtimes."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

Session = Callable[..., Sequence[np.ndarray]]


def import_openvino() -> ModuleType:
    """OpenVINO, without the module that reports its use to Intel.

    It would report each import.
    """
    sys.modules.setdefault('openvino_telemetry', None)
    import openvino

    return openvino


def open_onnxruntime(path: Path, threads: int = 0) -> Session:
    """Open an ONNX file in onnxruntime on the CPU.

    Args:
        path: The file.
        threads: Threads per operator; 0 lets onnxruntime choose.

    Returns:
        A function from arrays in the order of the file's inputs to its outputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )
    names = [node.name for node in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays)))


def open_openvino(path: Path, threads: int = 0) -> Session:
    """Open an ONNX or .xml file in OpenVINO on the CPU, in full precision.

    Arguments and result are those of :func:`open_onnxruntime`.
    """
    network = (
        import_openvino()
        .Core()
        .compile_model(
            str(path),
            'CPU',
            {
                'INFERENCE_NUM_THREADS': threads,
                # On CPUs with bfloat16, OpenVINO would use it by default.
                'INFERENCE_PRECISION_HINT': 'f32',
            },
        )
    )
    return lambda *arrays: list(network(list(arrays)).values())
