"""Hooks around the fork of a function from a zygote, under the names of AWS Lambda's SnapStart.

This one is used where an environment does not bring the package of that name.
"""

if 0:
    from collections.abc import Callable
    from typing import Any

_before_snapshot = []  # type: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]
_after_restore = []  # type: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]


def register_before_snapshot(func, *args, **kwargs):
    # type: (Callable[..., Any], *Any, **Any) -> Callable[..., Any]
    """Has `func` called in the zygote, ahead of its first fork; what is registered last is called
    first. Returns `func`, so it can be a decorator."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    # type: (Callable[..., Any], *Any, **Any) -> Callable[..., Any]
    """Has `func` called once in each function's process, ahead of its first invocation, in the
    order of registration. Returns `func`, so it can be a decorator."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    # type: () -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]
    """Returns what was registered: a list of (func, args, kwargs)."""
    return _before_snapshot


def get_after_restore():
    # type: () -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]
    """Returns what was registered: a list of (func, args, kwargs)."""
    return _after_restore
