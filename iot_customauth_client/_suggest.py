"""The nearest known name for a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str | None:
    """Return the name among `known` that `name` was probably meant to be, or `None`.

    likeness: how alike they have to be, from 0 to 1; at 0.9 one letter in ten may differ.
    """
    import difflib  # only errors come here

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say in one sentence that `name` is not a known `what`, with the nearest one that is."""
    known = sorted(known)
    meant = nearest(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}: {hint}"
