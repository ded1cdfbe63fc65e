"""Scenario files: TOML to a :class:`Scenario`, every fault named at once, and back.

    scenario = load_scenario(Path("tokyo-in-doubt.toml"))

A key nobody knows, a blank, a wrong type, a region that is not on the map or a fault that touches
nobody is refused with the file, the key's whole name (``fault[0].between``) and what is allowed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import cattrs

from simulator.fault_kinds import KINDS, Fault, FaultKind
from simulator.matrices import MatrixError, load
from simulator.moments import ReachPoint, parse_reach_point
from simulator.operations import DOINGS, Do, Operation
from simulator.population import Selector
from simulator.scenario import Scenario
from simulator.scenario_checks import scenario_faults
from turnout.protocol.identifiers import NAME_RULE, Region, ServiceName, is_name
from turnout.runtime.config import ConfigError, load_toml, parse_toml
from turnout.runtime.problems import problem_types
from turnout.runtime.structuring import Fault as Objection
from turnout.runtime.structuring import FaultsError, described, shown, strict_converter


def load_scenario(path: Path) -> Scenario:
    """The scenario in a file; a matrix's path is relative to its folder. Raises ConfigError."""
    scenario = load_toml(path, Scenario, converter=_converter())
    return _checked(scenario, str(path), path.parent)


def parse_scenario(content: bytes, *, source: str, folder: Path | None = None) -> Scenario:
    """The scenario in these bytes; ``source`` names them. Raises ConfigError."""
    scenario = parse_toml(content, Scenario, source=source, converter=_converter())
    return _checked(scenario, source, folder or Path())


def _checked(scenario: Scenario, source: str, folder: Path) -> Scenario:
    scenario = _from_folder(scenario, folder)
    try:
        regions = load(scenario.topology.matrix).regions
    except MatrixError as error:
        wrong = Objection(path="topology.matrix", message=f"cannot be used: {error}")
        raise ConfigError(source, (wrong,)) from error
    problems = [problem.name for problem in problem_types()]
    wrong_keys = scenario_faults(scenario, regions, problems)
    if wrong_keys:
        raise ConfigError(source, tuple(Objection(path=p, message=m) for p, m in wrong_keys))
    return scenario


def _from_folder(scenario: Scenario, folder: Path) -> Scenario:
    """The same with the matrix's path, if it is one, taken from the scenario's own folder."""
    matrix = scenario.topology.matrix
    if not matrix.endswith(".csv") or Path(matrix).is_absolute():
        return scenario
    topology = attrs.evolve(scenario.topology, matrix=str((folder / matrix).absolute()))
    return attrs.evolve(scenario, topology=topology)


# ------------------------------------------------------------------------------------- reading


def _converter() -> cattrs.Converter:
    converter = strict_converter()

    def hook(kind: object, structure: Any) -> None:
        converter.register_structure_hook_func(partial(operator.is_, kind), structure)

    hook(ServiceName, _name)
    hook(Region, _name)
    hook(ReachPoint, lambda value, _: parse_reach_point(value))
    hook(Operation, partial(_structure_operation, converter))
    hook(Fault, partial(_structure_fault, converter))
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[Selector, ...], _structure_selectors
    )
    return converter


def _name(value: object, _: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"is not a name: it must have {NAME_RULE}; it is {shown(value)}")
    return value


def _structure_selectors(value: object, _: object) -> tuple[str, ...]:
    """One selector, or a list of them."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ValueError(f"must be a text or a list of texts, not {shown(value)}")
    if not all(one.strip() for one in listed):
        raise ValueError("must not be blank")
    return tuple(listed)


def _structure_operation(converter: cattrs.Converter, value: object, _: object) -> object:
    do = _tag(converter, value, "do", Do)
    return converter.structure(value, DOINGS[do].cls)


def _structure_fault(converter: cattrs.Converter, value: object, _: object) -> object:
    kind = _tag(converter, value, "kind", FaultKind)
    return converter.structure(value, KINDS[kind].cls)


def _tag(converter: cattrs.Converter, value: object, key: str, kinds: type[Any]) -> Any:
    """The value of the key that says which other keys there may be."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table, not {shown(value)}")
    if key not in value:
        message = f"is missing: it must be {described(kinds)}"
        raise FaultsError([Objection(path=key, message=message)])
    try:
        return converter.structure(value[key], kinds)
    except ValueError as error:
        raise FaultsError([Objection(path=key, message=str(error))]) from error


# ------------------------------------------------------------------------------------- writing


def to_toml(scenario: Scenario) -> str:
    """The scenario as a file, without the keys that have their default.

    Raises ModuleNotFoundError without tomlkit (``pip install turnout[sim]``).
    """
    import tomlkit  # noqa: PLC0415 - an extra: whoever only reads scenarios does without it

    return tomlkit.dumps(_plain(scenario))


def _plain(value: Any) -> Any:
    if attrs.has(type(value)) and not isinstance(value, ReachPoint):
        return {
            field.alias or field.name: _plain(getattr(value, field.name))
            for field in _keys_first(attrs.fields(type(value)))
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bool | int | float):
        return value
    return str(value)


def _keys_first(fields: Iterable[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Required keys (``kind``, ``do``) are told before those that have a default."""
    return sorted(fields, key=lambda field: field.default is not attrs.NOTHING)
