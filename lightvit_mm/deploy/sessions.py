"""Files in the runtimes that they are for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Session = Callable[..., Sequence[np.ndarray]]


def open_onnxruntime(path: Path, threads: int = 0) -> Session:
    """An ONNX file as a function, run by onnxruntime on the CPU.

    Args:
        path: The file.
        threads: Threads of an operator; 0 leaves them to onnxruntime.

    Returns:
        From arrays in the order of the file's inputs to its outputs.
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
    """The same of an ONNX or .xml file in OpenVINO, in full precision."""
    import openvino

    network = openvino.Core().compile_model(
        str(path),
        'CPU',
        {
            'INFERENCE_NUM_THREADS': threads,
            # Where the processor can, OpenVINO would take bfloat16.
            'INFERENCE_PRECISION_HINT': 'f32',
        },
    )
    return lambda *arrays: list(network(list(arrays)).values())
