"""The settings of a `GRPOConfig(...)` call in a Python file, read from its syntax tree; the file is never executed."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from ngrpo.errors import ConfigError
from ngrpo.linting.view import UNKNOWN, Located


class ConfigCall(NamedTuple):
    """A call's class, its literal arguments, and whether it has arguments that the file does not show."""

    name: str
    settings: dict[str, Located]
    partial: bool


def config_call(text: str) -> ConfigCall:
    """Returns the first call of a class whose name ends in GRPOConfig, with later assignments to what it made.

    A value is read where it is a literal or the name of a constant of the module; any other is UNKNOWN.

    Raises:
        ConfigError: when the text is not Python, or has no such call.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"not valid Python: {error}") from None
    constants = _constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _called(node)).endswith("GRPOConfig"):
            settings = {
                keyword.arg: Located(_literal(keyword.value, constants), keyword.value.lineno)
                for keyword in node.keywords
                if keyword.arg
            }
            partial = any(keyword.arg is None for keyword in node.keywords) or bool(node.args)
            return ConfigCall(name, settings | _assigned(tree, node, constants), partial)
    raise ConfigError("no call of GRPOConfig(...) in this file: give the YAML or the command's settings instead")


def _called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Returns names that the module assigns once, to a literal."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else ()
        for target in targets:
            if isinstance(target, ast.Name):
                again = target.id in found
                found[target.id] = UNKNOWN if again else _literal(node.value, {})  # type: ignore[attr-defined]
    return found


def _assigned(tree: ast.Module, call: ast.Call, constants: dict[str, Any]) -> dict[str, Located]:
    """Returns `args.key = value` of the name that the call was assigned to."""
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is call
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        target.attr: Located(_literal(node.value, constants), node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in names
    }


def _literal(node: ast.expr, constants: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return constants.get(node.id, UNKNOWN)
    if isinstance(node, ast.Attribute) and node.attr in {"bfloat16", "float16", "float32"}:
        return node.attr
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {k.value: _literal(v, constants) for k, v in pairs if isinstance(k, ast.Constant)}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN
