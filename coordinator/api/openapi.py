"""The OpenAPI 3.1 document, made from the table of addresses and the classes of the bodies."""

from __future__ import annotations

import enum
import typing
from collections.abc import Iterable
from typing import Any

import attrs

from coordinator.api.addresses import OPERATORS, Address
from coordinator.api.bodies import AllowStale, ApplyBody
from turnout.protocol.routing import RoutingTable
from turnout.runtime.problems import MEDIA_TYPE, problem_types

_PLAIN: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}

Schema = dict[str, Any]


def document(version: str, addresses: Iterable[Address] = OPERATORS) -> Schema:
    """The whole document as JSON values."""
    paths: dict[str, Schema] = {}
    for address in addresses:
        path = address.path.replace(":int", "")
        paths.setdefault(path, {})[address.method.lower()] = _operation(address)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turnout coordinator", "version": version},
        "paths": paths,
        "components": {"schemas": {"Problem": _problem()}},
    }


def _operation(address: Address) -> Schema:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    operation: Schema = {
        "summary": address.summary,
        "operationId": address.endpoint.__name__,
        "parameters": [*_path_parameters(address), *_query_parameters(address)],
        "responses": {
            str(address.status): {
                "description": "As asked",
                "content": {address.media_type: {}},
            },
            "307": {"description": "Another replica leads: repeat it there"},
            "default": {"description": "Refused", "content": {MEDIA_TYPE: problem}},
        },
    }
    if address.body is not None:
        schema = schema_of(address.body)
        if address.body is ApplyBody:
            schema["properties"]["table"] = schema_of(RoutingTable)
            schema["required"] = ["table", *schema.get("required", [])]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _path_parameters(address: Address) -> list[Schema]:
    names = [part[1:-1] for part in address.path.split("/") if part.startswith("{")]
    return [
        {
            "name": name.removesuffix(":int"),
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if name.endswith(":int") else "string"},
        }
        for name in names
    ]


def _query_parameters(address: Address) -> list[Schema]:
    return [{"name": name, "in": "query", "schema": {}} for name in address.query]


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"enum": [kind.uri for kind in problem_types()]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }


def schema_of(kind: Any) -> Schema:
    """The JSON schema of a type: attrs classes, enums, tuples, unions and plain values."""
    if kind is AllowStale:
        agents = {"type": "array", "items": {"type": "string"}}
        return {"oneOf": [agents, {"type": "integer", "minimum": 0}]}
    kind = getattr(kind, "__supertype__", kind)  # a NewType is what it is made of
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if attrs.has(kind):
        return _object(kind)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": schema_of(arguments[0])}
    given = [schema_of(one) for one in arguments if one is not type(None)]
    assert given, f"{kind} has no schema"
    return {"anyOf": [*given, {"type": "null"}]}


def _object(cls: type) -> Schema:
    hints = typing.get_type_hints(cls)
    fields = attrs.fields(cls)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: schema_of(hints[field.name]) for field in fields},
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
    }
