"""The authorizer's side of custom authentication: the Lambda event, the result, and the policies in it.

Small enough to ship inside a Lambda function: nothing here may import awscrt, ssl, asyncio, pydantic or the
client, only the standard library. Names are resolved on first use, so that a function which reads an event and
answers it never loads the policy evaluation.

    from iot_customauth_client.authorizer import Request, allow, deny, document, statement

    def lambda_handler(event, context):
        request = Request.from_event(event)
        if request.password != b"pass01":
            return deny()
        rule = statement("Allow", "iot:Connect", f"arn:aws:iot:*:*:client/{request.client_id}")
        return allow(principal_id="CustomAuthId", policy=document(rule))
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arn import client_arn, topic_arn, topicfilter_arn
    from .context import Context
    from .event import AuthorizerEvent, Request, build_event, parse_query
    from .policy import Decision, evaluate
    from .policy_document import MalformedPolicy, PolicyDocument
    from .response import allow, deny, document, statement
    from .result import AuthorizerResult, InvalidResult, validate_result

__all__ = [
    "AuthorizerEvent",
    "AuthorizerResult",
    "Context",
    "Decision",
    "InvalidResult",
    "MalformedPolicy",
    "PolicyDocument",
    "Request",
    "allow",
    "build_event",
    "client_arn",
    "deny",
    "document",
    "evaluate",
    "parse_query",
    "statement",
    "topic_arn",
    "topicfilter_arn",
    "validate_result",
]

_HOME = {
    "AuthorizerEvent": "event",
    "AuthorizerResult": "result",
    "Context": "context",
    "Decision": "policy",
    "InvalidResult": "result",
    "MalformedPolicy": "policy_document",
    "PolicyDocument": "policy_document",
    "Request": "event",
    "allow": "response",
    "build_event": "event",
    "client_arn": "arn",
    "deny": "response",
    "document": "response",
    "evaluate": "policy",
    "parse_query": "event",
    "statement": "response",
    "topic_arn": "arn",
    "topicfilter_arn": "arn",
    "validate_result": "result",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
