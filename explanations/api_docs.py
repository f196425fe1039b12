"""/api/docs: the JSON API for people, drawn from its OpenAPI schema by the server.

Swagger's page wants inline scripts and a CDN, which the site's Content-Security-Policy refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from explanations.api import api
from explanations.models import Explanation
from explanations.paging import MAX_INTEGER

ASKED = {"SearchIn", "Input"}
"""Schemas of what is asked, which are shown as parameters."""
BOUNDS = {"minimum": "at least", "maximum": "at most"}


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """List the operations as the OpenAPI schema has them, with addresses to try."""
    schema = api.get_openapi_schema()
    values = _example_values()
    operations = [
        {
            "path": path,
            "summary": methods["get"]["summary"],
            "parameters": [_parameter(p) for p in methods["get"].get("parameters", [])],
            "answer": _answer_name(methods["get"]),
            "example": _example(path, values),
        }
        for path, methods in schema["paths"].items()
    ]
    objects = [
        {"name": name, "about": definition.get("description", ""), "fields": _fields(definition)}
        for name, definition in schema["components"]["schemas"].items()
        if name not in ASKED
    ]
    context = {"operations": operations, "objects": objects, "description": api.description}
    return render(request, "explanations/api.html", context)


def _answer_name(operation: Any) -> str:
    """Return the name of what an operation answers with."""
    return _type(operation["responses"][200]["content"]["application/json"]["schema"])


def _parameter(parameter: Any) -> dict[str, Any]:
    """Return a parameter's name, type, bounds and meaning."""
    schema = parameter["schema"]
    bounds = [f"{word} {schema[key]}" for key, word in BOUNDS.items() if schema.get(key, MAX_INTEGER) != MAX_INTEGER]
    default = [f"default {schema['default']}"] if schema.get("default") not in (None, "") else []
    return {
        "name": parameter["name"],
        "type": ", ".join([_type(schema), *bounds, *default]),
        "is_in_path": parameter["in"] == "path",
        "description": schema.get("description", ""),
    }


def _fields(definition: Any) -> list[dict[str, str]]:
    return [
        {"name": name, "type": _type(field), "description": field.get("description", "")}
        for name, field in definition.get("properties", {}).items()
    ]


def _type(field: Any) -> str:
    """Return a JSON schema's type in words: "number or null", "list of RecordOut"."""
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else "list"
    return str(field.get("type", "any"))


def _example_values() -> dict[str, str]:
    """Return a value for each part of the addresses, from what is stored. One query."""
    row = Explanation.objects.order_by("id").select_related("neuron__model").first()
    if row is None:
        return {}
    neuron = row.neuron
    return {
        "slug": neuron.model.slug,
        "layer": str(neuron.layer),
        "index": str(neuron.index),
        "explanation_id": str(row.pk),
    }


def _example(path: str, values: Mapping[str, str]) -> str:
    """Return an address to try; empty where nothing is stored to try it on."""
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    if "{" in path:
        return ""
    return f"{path}?q=words&limit=5" if path.endswith("/search") else path
