"""A server on this machine that speaks OpenAI's protocol: over a local model, or by a script, faults included."""

from __future__ import annotations

from explanations.model_server.replies import Fault, ModelRequest, Reply
from explanations.model_server.script import Rule, Script, ScriptError, read_script
from explanations.model_server.server import ModelServer
from explanations.model_server.serving import LocalResponder

__all__ = [
    "Fault",
    "LocalResponder",
    "ModelRequest",
    "ModelServer",
    "Reply",
    "Rule",
    "Script",
    "ScriptError",
    "read_script",
]
