"""Where the global tokens look, and what they give back (paper, Figure 4).

Global aggregation is a softmax over the image tokens, one for each global
token (Eq. 2): the places that the token gathers from. Global broadcast is a
softmax over the global tokens, one for each image token (Eq. 3): the tokens
that the place reads from. Both are taken from the queries and keys that the
network itself computes. :func:`visualize` does all, from file to picture.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config
from torch import Tensor, nn

from ..files import PathLike
from ..models import LightViT
from ..models.lightvit import HW, LightViTBlock, split_heads
from ..trained import InferenceError, find_backbone, network_input

TOKENS_PER_ROW = 8
CELL = 1.5  # inches, of a square image


class AttentionMapError(InferenceError):
    """Attention that cannot be shown; the message says why."""


@dataclass
class BlockAttention:
    """Global attention of one block, for B images and T global tokens.

    Args:
        stage: Stage of the block, counted from 1.
        block: Block of that stage, counted from 1.
        stride: Pixels between the image tokens. The maps begin at the
            image's top left corner and may reach beyond its other corner.
        aggregation: Weights (B, heads, T, H, W), which sum to one over H and
            W.
        broadcast: Weights (B, heads, T, H, W), which sum to one over T.
    """

    stage: int
    block: int
    stride: int
    aggregation: Tensor
    broadcast: Tensor

    @property
    def layer(self) -> str:
        """The block as a user names it, such as '3.6'."""
        return f'{self.stage}.{self.block}'

    @property
    def name(self) -> str:
        return f'stage {self.stage}, block {self.block}'


@torch.no_grad()
def global_attention_maps(backbone: LightViT, images: Tensor) -> list[BlockAttention]:
    """The global attention of every block, in the order of the network.

    The backbone runs in evaluation mode and is left as it was.

    Args:
        backbone: The network.
        images: What it sees, (B, in_channels, h, w).

    Raises:
        AttentionMapError: If the backbone has no global tokens.
    """
    if not backbone.num_tokens:
        raise AttentionMapError(
            'num_tokens=0: without global tokens there is no global attention '
            'to show; expected a LightViT with num_tokens >= 1'
        )
    seen: dict[nn.Module, tuple] = {}

    def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
        seen[module] = (args, output)

    blocks = [
        [layer.attn for layer in stage if isinstance(layer, LightViTBlock)]
        for stage in backbone.stages
    ]
    handles = [
        module.register_forward_hook(keep)
        for attns in blocks
        for attn in attns
        for module in (attn, attn.kv_global)
    ]
    training = backbone.training
    try:
        backbone.eval()(images)
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()

    maps = []
    for i, attns in enumerate(blocks):
        for j, attn in enumerate(attns):
            (x, hw), _ = seen[attn]
            # Once more, since the network has it in the order of windows.
            qkv = attn.qkv(x)
            weights = _weights(
                qkv, seen[attn.kv_global][1], attn.num_heads, attn.num_tokens, hw
            )
            stride = backbone.stem_stride * 2**i
            maps.append(BlockAttention(i + 1, j + 1, stride, *weights))
    return maps


def _weights(
    qkv: Tensor, kv_global: Tensor, num_heads: int, T: int, hw: HW
) -> tuple[Tensor, Tensor]:
    """(B, T + N, 3C), (B, T, 2C) -> twice (B, heads, T, H, W)."""
    q, k, _ = split_heads(qkv, num_heads, 3)
    k_global, _ = split_heads(kv_global, num_heads, 2)
    scale = q.shape[-1] ** -0.5
    aggregation = (q[:, :, :T] * scale @ k[:, :, T:].mT).softmax(dim=-1)
    broadcast = (q[:, :, T:] * scale @ k_global.mT).softmax(dim=-1).mT
    return aggregation.unflatten(3, hw), broadcast.unflatten(3, hw)


def draw_attention(
    image: np.ndarray,
    aggregation: Tensor,
    broadcast: Tensor,
    stride: int,
    path: PathLike,
    title: str = '',
) -> None:
    """Draw the two maps of each global token over the image, as in Figure 4.

    One column per token: aggregation above, broadcast below, each from blue,
    its least weight, to red, its greatest, which are written below it.

    Args:
        image: RGB, uint8, (h, w, 3).
        aggregation: Maps (T, H, W).
        broadcast: Maps (T, H, W).
        stride: Pixels between the tokens of the maps.
        path: Picture to write, by matplotlib's formats. Its folder is made.
        title: Text above the picture.
    """
    T = len(aggregation)
    h, w = image.shape[:2]
    columns = min(T, TOKENS_PER_ROW)
    rows = 2 * math.ceil(T / columns)
    figure, axes = _grid(rows, columns + 1, w / h, title)
    maps = dict(aggregation=aggregation, broadcast=broadcast)
    for row, cells in enumerate(axes):
        kind = ('aggregation', 'broadcast')[row % 2]
        cells[0].imshow(image)
        cells[0].set_ylabel(kind, fontsize=9)
        first = row // 2 * columns
        for token, cell in enumerate(cells[1:], first):
            if token >= T:
                cell.remove()
                continue
            _draw_cell(cell, image, maps[kind][token], stride)
            if kind == 'aggregation':
                cell.set_title(f'token {token}', fontsize=9)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _grid(
    rows: int, columns: int, aspect: float, title: str
) -> tuple[Figure, np.ndarray]:
    """Cells of one area, whatever the image's width over height."""
    width, height = CELL * aspect**0.5, CELL / aspect**0.5
    side, above, gap_x, gap_y = 0.35, 0.7, 0.08, 0.4
    full_width = side + columns * (width + gap_x)
    full_height = above + rows * (height + gap_y)
    figure = Figure(figsize=(full_width, full_height), dpi=120)
    figure.suptitle(
        title,
        y=1 - 0.1 / full_height,
        va='top',
        fontsize=10,
        wrap=True,
        parse_math=False,
    )
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        subplot_kw=dict(xticks=[], yticks=[]),
        gridspec_kw=dict(
            left=side / full_width,
            right=1 - gap_x / full_width,
            top=1 - above / full_height,
            bottom=gap_y / full_height,
            wspace=gap_x / width,
            hspace=gap_y / height,
        ),
    )
    return figure, axes


def _draw_cell(cell: Axes, image: np.ndarray, weights: Tensor, stride: int) -> None:
    """A map (H, W) over an image (h, w, 3), which it may exceed."""
    h, w = image.shape[:2]
    H, W = weights.shape
    least, greatest = weights.aminmax()
    cell.imshow(image)
    cell.imshow(
        weights.float().cpu().numpy(),
        cmap='jet',
        alpha=0.5,
        interpolation='bilinear',
        extent=(-0.5, W * stride - 0.5, H * stride - 0.5, -0.5),
    )
    cell.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    cell.set_xlabel(f'{least:.3g} – {greatest:.3g}', fontsize=6)


def visualize(
    model: nn.Module,
    cfg: Config,
    image_path: PathLike,
    out_path: PathLike,
    layer: str | None = None,
    head: int | None = None,
    size: HW | None = None,
) -> None:
    """Draw the global attention of a block over an image.

    Args:
        model: Model with a LightViT in it, as of
            :func:`lightvit_mm.trained.load_trained`.
        cfg: Its config.
        image_path: The image.
        out_path: As for :func:`draw_attention`.
        layer: 'STAGE.BLOCK', both counted from 1; the last block if None.
        head: Head, counted from 0; the mean over the heads if None.
        size: As for :func:`lightvit_mm.trained.network_input`.

    Raises:
        InferenceError: If the image cannot be read, or there is no such
            layer, head, size or pipeline, no LightViT or no global token.
    """
    image, inputs = network_input(model, cfg, image_path, size)
    block = _select(global_attention_maps(find_backbone(model), inputs), layer)
    aggregation, broadcast = block.aggregation[0], block.broadcast[0]
    num_heads = len(aggregation)
    if head is None:
        aggregation, broadcast = aggregation.mean(0), broadcast.mean(0)
        of_heads = f'mean of {num_heads} heads'
    elif 0 <= head < num_heads:
        aggregation, broadcast = aggregation[head], broadcast[head]
        of_heads = f'head {head}'
    else:
        raise AttentionMapError(
            f'There is no head {head} in {block.name}: expected 0 to {num_heads - 1}'
        )
    draw_attention(
        image,
        aggregation,
        broadcast,
        block.stride,
        out_path,
        f'{Path(image_path).name}: {block.name}, {of_heads}',
    )


def _select(blocks: list[BlockAttention], layer: str | None) -> BlockAttention:
    if layer is None:
        return blocks[-1]
    by_layer = {block.layer: block for block in blocks}
    if layer not in by_layer:
        raise AttentionMapError(
            f'There is no layer {layer}: expected STAGE.BLOCK, one of '
            f'{", ".join(by_layer)}'
        )
    return by_layer[layer]
