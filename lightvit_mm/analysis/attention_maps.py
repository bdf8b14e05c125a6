"""Maps of the global attention (paper, Figure 4).

In global aggregation, each global token gathers from the image tokens, weighted
by a softmax over them (Eq. 2). In global broadcast, each image token reads from
the global tokens, weighted by a softmax over those (Eq. 3). The maps show both
weights, computed from the network's own queries and keys. :func:`visualize`
goes all the way from image file to picture.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from torch import Tensor, nn

from ..files import PathLike
from ..models import LightViT
from ..models.layers import HW, split_heads
from ..models.lightvit import LightViTBlock, LocalGlobalAttention
from ..trained import InferenceError, find_backbone, network_input

TOKENS_PER_ROW = 8
CELL = 1.5  # side of the cell of a square image, in inches


class AttentionMapError(InferenceError):
    """The attention cannot be shown; the message says why."""


@dataclass
class BlockAttention:
    """Global attention of one block, for B images and T global tokens.

    Args:
        stage: Stage of the block, counted from 1.
        block: Block of that stage, counted from 1.
        stride: Pixels between image tokens. The maps start at the top left
            corner of the image and may exceed it at the bottom and right.
        aggregation: Weights (B, heads, T, H, W) that sum to 1 over H and W.
        broadcast: Weights (B, heads, T, H, W) that sum to 1 over T.
        attn: The attention module of the block.
        tokens: Its input (B, T + H * W, C).
    """

    stage: int
    block: int
    stride: int
    aggregation: Tensor
    broadcast: Tensor
    attn: nn.Module
    tokens: Tensor

    @property
    def layer(self) -> str:
        """The block in the form that users type, such as '3.6'."""
        return f'{self.stage}.{self.block}'

    @property
    def name(self) -> str:
        """The block in words, such as 'stage 3, block 6'."""
        return f'stage {self.stage}, block {self.block}'

    @torch.no_grad()
    def window(self, row: int, column: int) -> tuple[Tensor, HW]:
        """How much an image token receives from each token of its window (Eq. 1).

        Args:
            row: Row of the token in the map.
            column: Its column.

        Returns:
            Weights (B, heads, S, S) that sum to 1, and the row and column of the
            window's first token. The window may extend beyond the map at the bottom
            and right. With ``window_size=None``, it is the whole map.
        """
        image = self.tokens[:, self.attn.num_tokens :].unflatten(
            1, self.aggregation.shape[3:]
        )
        top, left, bias = 0, 0, 0
        if isinstance(self.attn, LocalGlobalAttention):
            S = self.attn.window_size
            top, left = row // S * S, column // S * S
            image = image[:, top : top + S, left : left + S]
            _, H, W, _ = image.shape
            image = F.pad(image, (0, 0, 0, S - W, 0, S - H))
            bias = self.attn.position_bias()
        size = image.shape[1:3]
        q, k, _ = split_heads(
            self.attn.qkv(image.flatten(1, 2)), self.attn.num_heads, 3
        )
        scores = q * q.shape[-1] ** -0.5 @ k.mT + bias
        token = (row - top) * size[1] + column - left
        return scores[:, :, token].softmax(dim=-1).unflatten(2, size), (top, left)


@torch.no_grad()
def global_attention_maps(backbone: LightViT, images: Tensor) -> list[BlockAttention]:
    """The global attention of every block, from the first to the last.

    The backbone runs in evaluation mode. Its mode and hooks are restored.

    Args:
        backbone: The network.
        images: Its input, (B, in_channels, h, w).

    Raises:
        AttentionMapError: If the backbone has no global tokens.
    """
    if not backbone.num_tokens:
        raise AttentionMapError(
            'num_tokens=0: without global tokens, there is no global attention '
            'to show; use a LightViT with num_tokens >= 1'
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
            # Computed again, because the network computes it in window order.
            qkv = attn.qkv(x)
            weights = _weights(
                qkv, seen[attn.kv_global][1], attn.num_heads, attn.num_tokens, hw
            )
            stride = backbone.stem_stride * 2**i
            maps.append(BlockAttention(i + 1, j + 1, stride, *weights, attn, x))
    return maps


def _weights(
    qkv: Tensor, kv_global: Tensor, num_heads: int, T: int, hw: HW
) -> tuple[Tensor, Tensor]:
    """(B, T + N, 3C), (B, T, 2C) -> aggregation and broadcast (B, heads, T, H, W)."""
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
    """Draw both maps of each global token over the image, as in Figure 4.

    Each token has a column, with aggregation above broadcast. Colours go from
    blue for the smallest weight of a map to red for the largest. Both values
    are written below the map.

    Args:
        image: RGB, uint8, (h, w, 3).
        aggregation: Maps (T, H, W).
        broadcast: Maps (T, H, W).
        stride: Pixels between the tokens of a map.
        path: Picture to write, in any format of matplotlib. Its folder is
            created.
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
    """A grid of cells that all have the same area for any aspect ratio."""
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
    """Draw a map (H, W), which may exceed the image (h, w, 3), over the image."""
    least, greatest = weights.aminmax()
    _overlay(cell, image, weights, stride)
    cell.set_xlabel(f'{least:.3g} – {greatest:.3g}', fontsize=6)


def _overlay(
    cell: Axes, image: np.ndarray, weights: Tensor, stride: int, first: HW = (0, 0)
) -> None:
    h, w = image.shape[:2]
    H, W = weights.shape
    top, left = (i * stride - 0.5 for i in first)
    cell.imshow(image)
    cell.imshow(
        weights.float().cpu().numpy(),
        cmap='jet',
        alpha=0.5,
        interpolation='bilinear',
        extent=(left, left + W * stride, top + H * stride, top),
    )
    cell.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))


def heat_map(
    image: np.ndarray,
    weights: Tensor,
    stride: int,
    first: HW = (0, 0),
    mark: tuple[int, int] | None = None,
) -> np.ndarray:
    """The image with a map drawn over it.

    Args:
        image: RGB, uint8, (h, w, 3).
        weights: A map (H, W), which may exceed the image.
        stride: Pixels between the tokens of the map.
        first: Row and column, in tokens, of the map's first token in the image.
        mark: x and y of a pixel to mark with a cross.

    Returns:
        RGB, uint8, (h, w, 3).
    """
    h, w = image.shape[:2]
    # Half a pixel more: matplotlib cuts off the fraction of a size.
    figure = Figure(figsize=((w + 0.5) / 100, (h + 0.5) / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    cell = figure.add_axes((0, 0, w / (w + 0.5), h / (h + 0.5)))
    cell.set_axis_off()
    _overlay(cell, image, weights, stride, first)
    cell.set_aspect('auto')
    if mark is not None:
        for colour, width in (('black', 4), ('white', 2)):
            cell.plot(*mark, '+', color=colour, markersize=16, markeredgewidth=width)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def explain(
    block: BlockAttention,
    image: np.ndarray,
    kind: str,
    token: int,
    point: tuple[int, int],
    zoom: int = 1,
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Where a global token looks, and what a pixel receives.

    All weights are means over the heads, for the first image of the batch.

    Args:
        block: The attention of a block.
        image: The image as prepared for the network, RGB, uint8, (h, w, 3).
        kind: 'aggregation' or 'broadcast'.
        token: The global token, counted from 0.
        point: x and y of the pixel, which is marked.
        zoom: Pixels of ``image`` per pixel of the network's input, on each side.

    Returns:
        The image with the token's map over it; the image with the pixel's weights in
        its window over it; and the pixel's weight for each global token, by name.
    """
    stride = block.stride * zoom
    column, row = (i // stride for i in point)
    looks = getattr(block, kind)[0, :, token].mean(0)
    window, first = block.window(row, column)
    received = block.broadcast[0, :, :, row, column].mean(0).tolist()
    return (
        heat_map(image, looks, stride, mark=point),
        heat_map(image, window[0].mean(0), stride, first, point),
        {f'token {i}': weight for i, weight in enumerate(received)},
    )


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
        model: Model that contains a LightViT, for example from
            :func:`lightvit_mm.trained.load_trained`.
        cfg: Its config.
        image_path: The image.
        out_path: Picture to write; see :func:`draw_attention`.
        layer: 'STAGE.BLOCK', both counted from 1. By default the last block.
        head: Head, counted from 0. By default the mean over all heads.
        size: Height and width to resize the image to; see
            :func:`lightvit_mm.trained.network_input`.

    Raises:
        InferenceError: If the image cannot be read, the size is not positive,
            the config has no test pipeline, the model has no LightViT or no
            global tokens, or the layer or head does not exist.
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
