"""The one place that imports etcd3: its protobuf messages and gRPC stubs, nothing else of it.

etcd3 0.12 ships message modules generated in 2020, which a current protobuf refuses to import
("Descriptors cannot be created directly"). The description of the messages inside them is as good
as ever: it is read from the installed files without executing them, the protobuf that is
installed builds the classes, and the modules take the stale ones' places before etcd3 itself is
imported. etcd3's client is not used: it has one endpoint, threads that outlive a cancel, and
watches that are dropped for good when a server goes away.

Nothing here has type information: a ``Message`` is any of etcd's messages.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

Message: TypeAlias = Any
Stub: TypeAlias = Any


def _serialized(path: Path) -> bytes:
    """Return the FileDescriptorProto that a generated module carries as a literal."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            literal = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            value = ast.literal_eval(literal)
            return value if isinstance(value, bytes) else value.encode("latin1")
    raise ImportError(f"{path} describes no messages: Turnout needs etcd3 0.12")


def _build(name: str, path: Path) -> ModuleType:
    descriptor = descriptor_pool.Default().AddSerializedFile(_serialized(path))
    module = ModuleType(name)
    builder.BuildMessageAndEnumDescriptors(descriptor, module.__dict__)
    builder.BuildTopDescriptorsAndMessages(descriptor, name, module.__dict__)
    return module


def _load() -> tuple[ModuleType, ModuleType]:
    """Return etcd3's messages and stubs, built where nobody else has imported them yet."""
    spec = importlib.util.find_spec("etcd3")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the package etcd3 is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "etcdrpc"
    for short in ("kv", "auth", "rpc"):
        name = f"etcd3.etcdrpc.{short}_pb2"
        if name not in sys.modules:
            sys.modules[name] = _build(name, folder / f"{short}_pb2.py")
    with warnings.catch_warnings():
        # What etcd3 pulls in (six, tenacity, older protobuf on a newer Python) may be deprecated
        # somewhere; who runs with warnings as errors can do nothing about that.
        warnings.simplefilter("ignore", DeprecationWarning)
        return (
            importlib.import_module("etcd3.etcdrpc.rpc_pb2"),
            importlib.import_module("etcd3.etcdrpc.rpc_pb2_grpc"),
        )


rpc: Any
stubs: Any
rpc, stubs = _load()
