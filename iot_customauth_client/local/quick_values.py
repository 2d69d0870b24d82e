"""Frozen dataclasses that are made in half the time: packets, messages, effects and events, a dozen per message.

The `__init__` that `dataclass(frozen=True)` writes must go round its own `__setattr__`, one call of
`object.__setattr__` for each field; that was a third of what a message cost the endpoint. Here the new object is for a
moment of a class without that guard but of the same layout, so that plain assignments do, and then becomes what it is:

    Publish (all slots empty) ──> its draft ──fields are assigned──> Publish, frozen from then on

What is made is the same in every respect: type, equality, hash, `repr`, `replace`, and an assignment still raises
`FrozenInstanceError`. Only for dataclasses with `frozen=True, slots=True` and without `__post_init__`.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, cast

ValueT = TypeVar("ValueT")

_set = object.__setattr__


def quickly_made(cls: type[ValueT]) -> type[ValueT]:
    """Give a frozen dataclass with slots an `__init__` that takes less time, and is the same otherwise.

    Raises TypeError for a class that is not such a dataclass.
    """
    parameters = cls.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen or "__slots__" not in cls.__dict__:
        raise TypeError(f"{cls.__name__} is no dataclass with frozen=True and slots=True")
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__} has a __post_init__, which would not be called")
    given = [each for each in fields(cast("Any", cls)) if each.init]
    draft = type(
        cls.__name__,
        cls.__bases__,
        {"__slots__": cls.__dict__["__slots__"], "__setattr__": object.__setattr__, "__delattr__": object.__delattr__},
    )
    quick = _written(cls, draft, given)
    quick.__qualname__ = f"{cls.__qualname__}.__init__"
    quick.__doc__ = cls.__init__.__doc__
    quick.__annotations__ = dict(cls.__init__.__annotations__)
    cls.__init__ = quick  # type: ignore[method-assign]
    return cls


def _written(cls: type[object], draft: type[object], given: list[Field[Any]]) -> Callable[..., None]:
    """Write the `__init__`, as `dataclass` does: by its text, so that it has real parameters and no loop."""
    scope: dict[str, Any] = {"_cls": cls, "_draft": draft, "_set": _set, "_MISSING": MISSING, "_slow": cls.__init__}
    parameters, assignments = ["self"], list[str]()
    for each in sorted(given, key=lambda field: bool(field.kw_only)):
        if each.kw_only and "*" not in parameters:
            parameters.append("*")
        parameter, value = each.name, each.name
        if each.default is not MISSING:
            scope[f"_default_{each.name}"] = each.default
            parameter = f"{each.name}=_default_{each.name}"
        elif each.default_factory is not MISSING:
            scope[f"_make_{each.name}"] = each.default_factory
            parameter = f"{each.name}=_MISSING"
            value = f"_make_{each.name}() if {each.name} is _MISSING else {each.name}"
        parameters.append(parameter)
        assignments.append(f"    self.{each.name} = {value}\n")
    passed = ", ".join(f"{each.name}={each.name}" for each in given)
    text = (
        f"def __init__({', '.join(parameters)}):\n"
        "    if type(self) is not _cls:\n"  # of a subclass, which has another layout
        f"        return _slow(self, {passed})\n"
        "    _set(self, '__class__', _draft)\n"
        f"{''.join(assignments)}"
        "    self.__class__ = _cls\n"
    )
    # A file name of its own, for profiles and tracebacks. The text is made of names of fields, which are identifiers.
    exec(compile(text, f"<quickly made {cls.__qualname__}>", "exec"), scope)  # noqa: S102
    return cast("Callable[..., None]", scope["__init__"])
