"""Hooks that hand on what a last projection is given. They are always removed, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from explanations.pipeline.subject.points import Point

Receive: TypeAlias = Callable[[Point, Any], None]
"""called with a layer's activations [batch, pos, d_mlp], a tensor that must not be changed"""


@contextmanager
def hooked(model: Any, points: Sequence[Point], receive: Receive) -> Iterator[None]:
    """Hand every layer's activations to `receive` while the model runs inside this block."""
    with ExitStack() as stack:
        for point in points:
            module = model.get_submodule(point.name)
            stack.callback(module.register_forward_pre_hook(_hook(point, receive)).remove)
        yield


def _hook(point: Point, receive: Receive) -> Callable[[Any, tuple[Any, ...]], None]:
    def hand_on(_module: Any, arguments: tuple[Any, ...]) -> None:
        receive(point, arguments[0])  # [batch, pos, d_mlp]

    return hand_on
