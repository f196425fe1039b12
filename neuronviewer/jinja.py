"""How the templates in `templates/jinja2/` are read: Jinja2, with the filters that Django's templates have.

The sections of a neuron's page and long lists are written for Jinja2, which compiles them: as Django's they took three
times as long. The rest of the site is Django's, and includes them with `{% section %}`.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import markupsafe
from django.template import defaultfilters
from django.utils.safestring import SafeString
from jinja2 import ChainableUndefined, Environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.nodes import Call, Expr
from markupsafe import Markup

from explanations.addresses import address
from explanations.escaping import escape
from explanations.templatetags import neurons

_FILTERS = {
    "capfirst": defaultfilters.capfirst,
    "correlation": neurons.correlation,
    "day": neurons.day,
    "default_if_none": defaultfilters.default_if_none,
    "dollars": neurons.dollars,
    "figure": neurons.figure,
    "grouped": neurons.grouped,
    "iso": neurons.iso,
    "moment": neurons.moment,
    "pluralize": defaultfilters.pluralize,
    "signed": neurons.signed,
    "truncatechars": defaultfilters.truncatechars,
}

_INCLUDE = re.compile(r'{% include "([^"]+)" %}')


class _Generator(CodeGenerator):
    """Has what expressions give escaped by `_escaped`: a page has two hundred of them."""

    def _output_child_pre(self, node: Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.volatile or not frame.eval_ctx.autoescape:
            super()._output_child_pre(node, frame, finalize)
        else:
            self.write("environment.escaped(")

    def visit_Call(self, node: Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802  Jinja's
        """Write a call as a call. Jinja asks each time whether the function wants the context: none here does."""
        if forward_caller or node.dyn_args is not None or node.dyn_kwargs is not None:
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.visit(node.node, frame)
        self.write("(")
        for argument in (*node.args, *node.kwargs):
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")


class _Joined(Extension):
    """Reads included templates as a part of those that include them: a page has seven, at ten microseconds each."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002  Jinja's
        # While pages are worked on, each template is its own file, to be read again when it changes.
        return source if self.environment.auto_reload else _INCLUDE.sub(self._included, source)

    def _included(self, found: re.Match[str]) -> str:
        loader = self.environment.loader
        assert loader is not None
        source, *_ = loader.get_source(self.environment, found[1])
        return self.preprocess(source.removesuffix("\n"), found[1])


class _Environment(Environment):
    code_generator_class = _Generator

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return what all templates know as one dict: Jinja's chain of two is read anew, slowly, for each section."""
        return {**self.globals, **(d or {})}

    @staticmethod
    def escaped(value: Any) -> str:
        """Return what `markupsafe.escape` does, the quickest way for the commonest types; often as a plain string."""
        kind = type(value)
        if kind is str:
            return escape(value)
        if kind is Markup or kind is SafeString:
            return value  # type: ignore[no-any-return]
        return str(value) if kind is int else markupsafe.escape(value)


def environment(**options: Any) -> Environment:
    """Return where Django's backend reads templates; it sets what `options` hold, such as that all is escaped."""
    # As in Django's templates, what is not there is empty, and so is any part of it.
    options["undefined"] = ChainableUndefined
    made = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Joined], **options)
    made.filters.update(_FILTERS)
    made.globals.update(url=address, origin=neurons.origin, score_bar=neurons.score_bar, strip=neurons.strip)
    # Imported once and not by each section, which takes 10 microseconds every time.
    parts = made.get_template("explanations/_neuron_parts.html").module
    made.globals.update({name: getattr(parts, name) for name in ("legend", "provenance")})
    return made
