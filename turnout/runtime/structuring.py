"""Plain values (of TOML or JSON) into attrs classes: strict, and complete in what it objects to.

cattrs finds the hook for each type, also through unions and whatever hooks a caller adds; the
hooks here refuse what its own would convert, and collect faults instead of stopping at the first.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs

_SHOWN_CHARACTERS = 60


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that is wrong: where (``service.checkout.active``), and what is allowed there."""

    path: str
    message: str

    def __str__(self) -> str:
        """The fault as a line for people."""
        return f"{self.path} {self.message}" if self.path else self.message


class FaultsError(ValueError):
    """The faults found in one table or list, their paths relative to it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


# What a hook may raise; the last two by unions and by hooks that callers add.
STRUCTURING_ERRORS = (ValueError, TypeError, cattrs.StructureHandlerNotFoundError)


def strict_converter() -> cattrs.Converter:
    """A converter that converts nothing: every value must be of its type already."""
    converter = cattrs.Converter(detailed_validation=False)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _plain_hook(kind))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(Path, lambda value, _: Path(_text(value)))
    converter.register_structure_hook_func(_is_enum, _structure_enum)
    converter.register_structure_hook_func(_is_literal, _structure_literal)
    for check, structure in (
        (attrs.has, _structure_table),
        (_is_list, _structure_list),
        (_is_dict, _structure_dict),
    ):
        converter.register_structure_hook_func(check, partial(structure, converter))
    return converter


def faults_of(error: Exception, path: str = "") -> Iterator[Fault]:
    """Every fault in what a strict converter raised, with its whole path."""
    if isinstance(error, FaultsError):
        for fault in error.faults:
            yield Fault(path=_joined(path, fault.path), message=fault.message)
    else:
        yield Fault(path=path, message=str(error.args[0]) if error.args else str(error))


def _joined(path: str, rest: str) -> str:
    return path + rest if not path or not rest or rest.startswith("[") else f"{path}.{rest}"


def _key(name: str) -> str:
    """A key as TOML would write it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else shown(name)


# -------------------------------------------------------------------------------- tables


def _structure_table(converter: cattrs.Converter, value: object, cls: type[Any]) -> object:
    """An instance of an attrs class, or all that is wrong with it."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table, not {shown(value)}")
    fields = {field.alias or field.name: field for field in attrs.fields(cls) if field.init}
    faults = [_unknown_key(name, list(fields)) for name in value if name not in fields]
    hints = _hints(cls)  # type: ignore[arg-type]  # classes are hashable
    known: dict[str, object] = {}
    for name, field in fields.items():
        if name in value:
            kind = hints[field.name]
            faults.extend(_structure_into(known, name, _key(name), converter, value[name], kind))
        elif field.default is attrs.NOTHING:
            faults.append(Fault(path=_key(name), message=f"is missing: {_wanted(field, hints)}"))
    faults.extend(_rejected(cls, fields, known | _defaults(fields, value)))
    if faults:
        raise FaultsError(faults)
    return cls(**known)


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a class's fields, evaluated from their text once: it takes half a millisecond."""
    return typing.get_type_hints(cls)


def _structure_into(
    known: dict[Any, object],
    slot: object,
    path: str,
    converter: cattrs.Converter,
    value: object,
    kind: Any,
) -> list[Fault]:
    """Structures one element into its slot, or returns what is wrong with it."""
    try:
        known[slot] = converter.structure(value, kind)
    except STRUCTURING_ERRORS as error:
        return list(faults_of(error, path))
    return []


def _wanted(field: attrs.Attribute[Any], hints: Mapping[str, Any]) -> str:
    return f"it must be {described(hints[field.name])}"


def _unknown_key(name: object, allowed: list[str]) -> Fault:
    message = f"is not a known key{_suggestion(name, allowed)}; allowed here: {', '.join(allowed)}"
    return Fault(path=_key(str(name)), message=message)


def _defaults(
    fields: Mapping[str, attrs.Attribute[Any]], given: Mapping[Any, object]
) -> dict[str, object]:
    """What the keys that were left out come to; they too may not fit what was given."""
    found: dict[str, object] = {}
    for name, field in fields.items():
        default: Any = field.default
        if name in given or default is attrs.NOTHING:
            continue
        if not hasattr(default, "takes_self"):
            found[name] = default
        elif not default.takes_self:  # a factory, and one that needs no instance
            found[name] = default.factory()
    return found


def _rejected(
    cls: type[Any], fields: Mapping[str, attrs.Attribute[Any]], values: Mapping[str, object]
) -> Iterator[Fault]:
    """What the validators object to, each asked by itself.

    attrs stops at the first objection, so they are asked on a bare instance that has only the
    fields that are good so far; one that looks at a field that is not there has no say.
    """
    bare: object = object.__new__(cls)
    for name, one in values.items():
        object.__setattr__(bare, fields[name].name, one)
    for name, field in fields.items():
        if field.validator is None or name not in values:
            continue
        try:
            field.validator(bare, field, values[name])
        except AttributeError:
            continue
        except (ValueError, TypeError) as error:
            text = str(error.args[0]) if error.args else str(error)
            yield Fault(path=_key(name), message=text.removeprefix(f"'{field.name}' "))


# -------------------------------------------------------------------------------- single values


def _plain_hook(kind: type) -> Callable[[object, object], object]:
    def structure(value: object, asked: Any) -> object:
        if _is_enum(asked):  # cattrs finds this hook for a StrEnum too, it being a str
            return _structure_enum(value, asked)
        if type(value) is not kind:
            raise ValueError(f"must be {described(kind)}, not {shown(value)}")
        return _text(value) if kind is str else value

    return structure


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {described(str)}, not {shown(value)}")
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _structure_float(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be {described(float)}, not {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return float(value)


def _is_enum(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_literal(kind: object) -> bool:
    return typing.get_origin(kind) is Literal


def _structure_enum(value: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if member.value == value and type(member.value) is type(value):
            return member
    raise ValueError(_not_among(value, [member.value for member in kind]))


def _structure_literal(value: object, kind: object) -> object:
    choices = typing.get_args(kind)
    if any(choice == value and type(choice) is type(value) for choice in choices):
        return value
    raise ValueError(_not_among(value, list(choices)))


def _not_among(value: object, choices: list[object]) -> str:
    allowed = ", ".join(map(shown, choices))
    return f"must be one of {allowed}, not {shown(value)}{_suggestion(value, choices)}"


def _suggestion(given: object, allowed: list[Any]) -> str:
    names = [name for name in allowed if isinstance(name, str)]
    near = difflib.get_close_matches(str(given)[:_SHOWN_CHARACTERS], names, n=1)
    return f" (did you mean {shown(near[0])}?)" if near else ""


# -------------------------------------------------------------------------------- collections


def _is_list(kind: object) -> bool:
    return (typing.get_origin(kind) or kind) in (list, tuple, set, frozenset)


def _is_dict(kind: object) -> bool:
    return (typing.get_origin(kind) or kind) is dict


def _structure_list(converter: cattrs.Converter, value: object, kind: Any) -> object:
    """Lists, sets, and tuples of any length (``tuple[str, ...]``)."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, not {shown(value)}")
    element, *more = typing.get_args(kind)
    assert more in ([], [...]), f"{kind}: only tuples of any length are structured"
    known: dict[int, object] = {}
    faults: list[Fault] = []
    for at, one in enumerate(value):
        faults.extend(_structure_into(known, at, f"[{at}]", converter, one, element))
    if faults:
        raise FaultsError(faults)
    return (typing.get_origin(kind) or kind)(known.values())


def _structure_dict(converter: cattrs.Converter, value: object, kind: Any) -> object:
    """Tables whose keys are names the user gives."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table, not {shown(value)}")
    key_kind, value_kind = typing.get_args(kind)
    keys: dict[str, object] = {}
    known: dict[str, object] = {}
    faults: list[Fault] = []
    for name, one in value.items():
        faults.extend(_structure_into(keys, name, _key(name), converter, name, key_kind))
        faults.extend(_structure_into(known, name, _key(name), converter, one, value_kind))
    if faults:
        raise FaultsError(faults)
    return {keys[name]: known[name] for name in known}


def described(kind: Any) -> str:
    """A type in words for people: ``a whole number``, ``one of "blue", "green"``."""
    if kind in _WORDS:
        return _WORDS[kind]
    if _is_literal(kind):
        return "one of " + ", ".join(map(shown, typing.get_args(kind)))
    if _is_enum(kind):
        return "one of " + ", ".join(shown(member.value) for member in kind)
    if _is_list(kind):
        return "a list"
    if _is_dict(kind) or attrs.has(kind):
        return "a table"
    parts = [described(one) for one in typing.get_args(kind) if one is not type(None)]
    return " or ".join(parts) or f"a {getattr(kind, '__name__', kind)}"


_WORDS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


def shown(value: object) -> str:
    """A value as it was written, cut short, without anything that could upset a terminal."""
    text = json.dumps(value, default=str)
    if len(text) > _SHOWN_CHARACTERS:
        return text[:_SHOWN_CHARACTERS] + "..."
    return text
