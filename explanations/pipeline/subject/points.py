"""Where a transformer's MLP neurons are: the input of each block's last MLP projection, found from the module tree.

Blocks are told by being the members of one list; the last projection by its shape (it writes d_model), and where an MLP
has several such modules by its name. Attention is left out. Nothing here imports torch: modules are looked at, not run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LAST_PROJECTIONS = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "wo")
"""names that last projections go by"""
ATTENTION = re.compile(r"attn|attention|mixer|mamba|rotary|(^|\.)att(\.|$)", re.IGNORECASE)
SHOWN_CANDIDATES = 40


class SubjectModelError(ValueError):
    """A subject model that cannot be opened, or whose neurons cannot be told; with the reason in words."""


@dataclass(frozen=True, slots=True)
class Point:
    """One layer's MLP neurons."""

    layer: int
    """the block's place, counted from 0"""
    name: str
    """the last projection, whose input the neurons are, as the module tree names it"""
    width: int
    """neurons: d_mlp"""
    d_model: int


def matrix_shape(module: Any) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear module; None for any other."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2 or hasattr(module, "num_embeddings"):
        return None
    if not (hasattr(module, "in_features") or hasattr(module, "nf")):
        return None
    inputs, outputs = weight.shape
    # GPT-2's Conv1D keeps its weight the other way round.
    return (inputs, outputs) if hasattr(module, "nf") else (outputs, inputs)


def find_blocks(model: Any) -> tuple[str, list[Any]]:
    """Return the name of the list of blocks, with the blocks. SubjectModelError where no list looks like it."""
    expected = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = [
        (name, list(module))
        for name, module in model.named_modules()
        if type(module).__name__ == "ModuleList" and len(module) and any(True for _ in module[0].children())
    ]
    fitting = [found for found in lists if len(found[1]) == expected] or lists
    if not fitting:
        raise SubjectModelError(f"{type(model).__name__} has no list of blocks; name its last projections by --points.")
    return max(fitting, key=lambda found: (len(found[1]), -found[0].count(".")))


def find_points(model: Any, pattern: str = "") -> tuple[Point, ...]:
    """Return where the neurons of each layer are, first layer first.

    `pattern` names the last projections by hand: a module's whole name with `{layer}` for the block's number, such as
    `model.layers.{layer}.mlp.down_proj`. SubjectModelError, with the candidates, where they cannot be told.
    """
    if pattern:
        return points_by_pattern(model, pattern)
    prefix, blocks = find_blocks(model)
    d_model = int(model.config.get_text_config(decoder=True).hidden_size)
    return tuple(find_point(f"{prefix}.{layer}", layer, block, d_model) for layer, block in enumerate(blocks))


def find_point(prefix: str, layer: int, block: Any, d_model: int) -> Point:
    candidates = {
        name: shape
        for name, module in block.named_modules()
        if not ATTENTION.search(name) and (shape := matrix_shape(module)) is not None and shape[1] == d_model
    }
    if len(candidates) > 1:
        candidates = {name: s for name, s in candidates.items() if name.split(".")[-1] in LAST_PROJECTIONS}
    if len(candidates) != 1:
        found = "several modules" if candidates else "no module"
        raise SubjectModelError(
            f"{found} of {prefix} could be the MLP's last projection, so its neurons cannot be told. Name it by"
            f" --points, e.g. --points '{example(prefix, layer, block)}'. {describe(block, prefix, layer)}"
        )
    [(name, (width, _))] = candidates.items()
    return Point(layer, f"{prefix}.{name}", width, d_model)


def example(prefix: str, layer: int, block: Any) -> str:
    names = [name for name, module in block.named_modules() if matrix_shape(module) is not None]
    outside = [name for name in names if not ATTENTION.search(name)]
    return f"{with_layer(prefix, layer)}.{([*outside, *names] or ['mlp.down_proj'])[-1]}"


def with_layer(prefix: str, layer: int) -> str:
    return f"{prefix.removesuffix(str(layer))}{{layer}}"


def describe(block: Any, prefix: str, layer: int) -> str:
    """Return the linear modules of a block in words."""
    shapes = {name: matrix_shape(module) for name, module in block.named_modules()}
    listed = [
        f"{with_layer(prefix, layer)}.{name} ({shape[0]} -> {shape[1]})" for name, shape in shapes.items() if shape
    ]
    shown = ", ".join(listed[:SHOWN_CANDIDATES]) or "none"
    return f"Its linear modules: {shown}{' ...' if len(listed) > SHOWN_CANDIDATES else ''}."


def points_by_pattern(model: Any, pattern: str) -> tuple[Point, ...]:
    modules = dict(model.named_modules())
    if "{layer}" not in pattern:
        prefix, blocks = find_blocks(model)
        raise SubjectModelError(
            f"--points “{pattern}” has no {{layer}}, where the block's number goes, as in"
            f" {example(f'{prefix}.0', 0, blocks[0])}. {describe(blocks[0], f'{prefix}.0', 0)}"
        )
    points: list[Point] = []
    while (module := modules.get(name := pattern.replace("{layer}", str(len(points))))) is not None:
        shape = matrix_shape(module)
        if shape is None:
            raise SubjectModelError(f"--points: {name} is a {type(module).__name__}, not a linear module.")
        points.append(Point(len(points), name, *shape))
    if not points:
        prefix, blocks = find_blocks(model)
        raise SubjectModelError(f"--points: the model has no module {name}. {describe(blocks[0], f'{prefix}.0', 0)}")
    return tuple(points)


def same_width(points: Sequence[Point]) -> int:
    """Return the number of neurons a layer. SubjectModelError where layers differ."""
    widths = {point.width for point in points}
    if len(widths) != 1:
        raise SubjectModelError(f"the model's layers have different numbers of neurons: {sorted(widths)}")
    return widths.pop()
