"""Authorizer functions that many tests need. None of them looks at the event."""

from __future__ import annotations

import threading


def allow_all(event: object, context: object) -> dict[str, object]:
    """An authorizer function that lets everybody do everything."""
    return allowing("iot:*", "*")


def allowing(action: str | list[str], resource: str | list[str], **more: object) -> dict[str, object]:
    """A result that allows one thing."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    policy = {"Version": "2012-10-17", "Statement": statement}
    return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy], **more}


class HeldBack:
    """Lets everybody do everything once the test has set `release`, or else just before the endpoint gives up."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def __call__(self, event: object, context: object) -> dict[str, object]:
        self.release.wait(4)
        return allow_all(event, context)
