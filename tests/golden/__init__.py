"""Outputs and gradient norms of the authors' released code, in float64.

The weights are computed by a rule instead of read from a file: for each key of
the state dict, ``RandomState(crc32(salt + key)).standard_normal(shape)``.
:func:`rule_state_dict` scales them to the magnitudes of a trained network.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent


def load(name: str) -> list:
    """The cases of ``name``.json, each with its ``outputs`` from ``name``.npz."""
    cases = json.loads((FOLDER / f'{name}.json').read_text())
    arrays = np.load(FOLDER / f'{name}.npz')
    for i, case in enumerate(cases):
        prefix = f'c{i}_out'
        count = sum(key.startswith(prefix) for key in arrays)
        case['outputs'] = [arrays[f'{prefix}{j}'] for j in range(count)]
    return cases


def rule_state_dict(reference: Mapping[str, Tensor], salt: str) -> dict[str, Tensor]:
    """Weights by the rule, in float64, with the keys and shapes of ``reference``."""
    state_dict = {}
    for key, value in reference.items():
        if not value.is_floating_point():
            state_dict[key] = value
            continue
        seed = zlib.crc32((salt + key).encode())
        g = np.random.RandomState(seed).standard_normal(tuple(value.shape))
        if key.endswith('running_mean'):
            g = 0.1 * g
        elif key.endswith('running_var'):
            g = 1 + 0.3 * np.abs(g)
        elif key.endswith(('global_token', 'relative_position_bias_table')):
            g = 0.5 * g
        elif key.endswith('bias'):
            g = 0.1 * g
        elif g.ndim == 1:
            g = 1 + 0.1 * g
        else:
            g = g / np.sqrt(np.prod(value.shape[1:]))
        state_dict[key] = torch.from_numpy(g)
    return state_dict


def grad_norms(model: nn.Module, outputs) -> dict[str, float]:
    """Gradient norms of all parameters for the loss of the golden cases."""
    model.zero_grad()
    sum((out**2).mean() for out in outputs).backward()
    return {
        name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
    }
