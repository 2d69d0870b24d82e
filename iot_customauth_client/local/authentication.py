"""From a CONNECT to a question for an authorizer function, and from its answer to a grant or a refusal.

::

    Connect ──question()──> Question ──(the function runs)──> Answer ──judge()──> Verdict with an AuthorizerResult
        └─────────────────> Refusal                                      └──────> Verdict with a Refusal

The order of the checks is the service's: read the user name, find the authorizer, is it ACTIVE, is the token there
and does its signature verify, only then the function. No I/O, no waiting; the policy is the broker's matter.

The service tells a client none of these causes. Each refusal names its cause in one sentence that holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import limits
from .._suggest import nearest
from ..authorizer.event import AuthorizerEvent, build_event
from ..authorizer.result import AuthorizerResult, InvalidResult, validate_result
from ..carriage import NAME_PARAMETER, SIGNATURE_PARAMETER, ReadUsername, read_username, redact_query
from .authorizer_calls import Answer
from .authorizers import LocalAuthorizer
from .codec import Connect
from .events import AuthorizerOutcome
from .redaction import scrub, shown_result
from .signatures import SignatureError, verify
from .words import listed

_SHOWN_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a CONNECT is refused: `cause` is a stable slug, `explanation` one sentence."""

    cause: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask which authorizer. The repr shows no event: it holds the device's secrets."""

    name: str
    authorizer: LocalAuthorizer
    event: AuthorizerEvent

    def __repr__(self) -> str:
        return f"Question(name={self.name!r})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer amounts to: exactly one of `result` and `refusal` is there. `shown` is fit for the log."""

    outcome: AuthorizerOutcome
    shown: dict[str, object] | None
    result: AuthorizerResult | None
    refusal: Refusal | None


class Authentication:
    """The authorizers of an endpoint, and the way from a CONNECT to one of them."""

    def __init__(self, authorizers: Mapping[str, LocalAuthorizer], default: str | None) -> None:
        self._authorizers = authorizers
        self._default = default

    def wanted(self, username: str | None) -> str | None:
        """Return the name of the authorizer that a CONNECT with this user name leads to, if there is one."""
        name = read_username(username or "").authorizer or self._default
        return name if name in self._authorizers else None

    def question(self, packet: Connect, *, server_name: str | None, connection_id: str) -> Question | Refusal:
        """Check all that comes before the function is called."""
        read = read_username(packet.username or "")
        try:
            name, authorizer = self._find(read)
            verified = False if authorizer.signing_disabled else _check_signature(name, authorizer, read)
        except _Refused as refused:
            return refused.refusal
        token = read.get(authorizer.token_key_name) if authorizer.token_key_name is not None else None
        event = build_event(
            connection_id=connection_id,
            signature_verified=verified,
            server_name=server_name,
            token=token,
            username=packet.username,
            password=packet.password,
            client_id=packet.client_id or None,
        )
        return Question(name, authorizer, event)

    def _find(self, read: ReadUsername) -> tuple[str, LocalAuthorizer]:
        if "?" in read.base:
            raise _Refused(
                "username_unreadable",
                "the MQTT user name holds more than one `?`: the service takes what follows the last one for the query,"
                " so the parameters before it are not seen; write one `?` and join all parameters with `&`"
                " (if an AWS SDK appended `?SDK=...`, switch its metrics off), and write %3F for a `?` in a value",
            )
        _check_repeated(read, limits.RESERVED_PARAMETERS)
        name = read.authorizer
        if name is None:
            if self._default is None:
                raise _Refused("authorizer_not_named", self._explain_unnamed(read))
            name = self._default
        authorizer = self._authorizers.get(name)
        if authorizer is None:
            raise _Refused("authorizer_unknown", self._explain_unknown(name))
        if authorizer.status != "ACTIVE":
            raise _Refused(
                "authorizer_inactive", f"authorizer `{name}` is {authorizer.status}: set its status to ACTIVE"
            )
        return name, authorizer

    def _explain_unnamed(self, read: ReadUsername) -> str:
        sentence = (
            f"no authorizer is named and the endpoint has no default one: append ?{NAME_PARAMETER}=NAME to the MQTT"
            f" user name; known: {listed(self._authorizers)}"
        )
        misspelt = next((name for name, _ in read.parameters if _means(name, NAME_PARAMETER)), None)
        if misspelt is not None:
            sentence += f". The parameter `{misspelt}` is not read: write {NAME_PARAMETER}, in lower case"
        elif read.query is None and NAME_PARAMETER in read.base:
            sentence += ". The user name holds the parameter without a `?` before it"
        return sentence

    def _explain_unknown(self, name: str) -> str:
        sentence = f"authorizer `{_shown(name)}` is unknown; known: {listed(self._authorizers)}"
        meant = nearest(name, self._authorizers)
        if "%" in name:
            sentence += ". Its name still holds a `%`: it was percent-encoded twice"
        elif name.strip("'\"") != name:
            sentence += ". Write the name without quotation marks"
        elif meant is not None:
            sentence += f". Did you mean `{meant}`?"
        return sentence


def judge(question: Question, answer: Answer, *, show_secrets: bool) -> Verdict:
    """Decide what the function's answer amounts to."""
    authorizer = f"authorizer `{question.name}`"
    shown = _plain(answer.result) if show_secrets else shown_result(answer.result, question.event)

    def refused(outcome: AuthorizerOutcome, cause: str, explanation: str) -> Verdict:
        return Verdict(outcome, shown, None, Refusal(cause, explanation))

    if answer.outcome == "failed":
        return refused("failed", "authorizer_failed", f"{authorizer} failed: {answer.explanation}")
    if answer.outcome == "timed_out":
        return refused("timed_out", "authorizer_timed_out", f"{authorizer} timed out: {answer.explanation}")
    if answer.outcome == "invalid":
        return refused("invalid", "authorizer_result_invalid", f"{authorizer}: {answer.explanation}")
    try:
        result = validate_result(answer.result)
    except InvalidResult as error:
        explanation = str(error) if show_secrets else scrub(str(error), question.event)
        return refused("invalid", "authorizer_result_invalid", f"{authorizer}: {explanation}")
    if not result.is_authenticated:
        explanation = f"{authorizer} returned isAuthenticated false: it does not accept these credentials"
        return refused("denied", "not_authenticated", explanation)
    return Verdict("allowed", shown, result, None)


class _Refused(Exception):
    def __init__(self, cause: str, explanation: str) -> None:
        super().__init__(explanation)
        self.refusal = Refusal(cause, explanation)


def _check_signature(name: str, authorizer: LocalAuthorizer, read: ReadUsername) -> bool:
    """Verify the token's signature; true, or it raises."""
    key_name = authorizer.token_key_name or ""
    _check_repeated(read, (key_name,))
    token = read.get(key_name)
    if token is None:
        raise _Refused(
            "token_missing",
            f"authorizer `{name}` verifies signatures, and the MQTT user name holds no token: append it as"
            f" `{key_name}=TOKEN`, the authorizer's token key name; parameters that came: {_names(read)}",
        )
    if read.signature is None:
        raise _Refused(
            "signature_missing",
            f"authorizer `{name}` verifies signatures, and the MQTT user name holds none: append it as"
            f" {SIGNATURE_PARAMETER}=SIGNATURE, base64 and then percent-encoded once;"
            f" parameters that came: {_names(read)}",
        )
    try:
        verify(token, read.signature, authorizer.loaded_keys)
    except SignatureError as error:
        advice = " The token itself still holds a `%`: was it encoded twice?" if "%" in token else ""
        raise _Refused("signature_invalid", f"authorizer `{name}`: {error}.{advice}") from error
    return True


def _check_repeated(read: ReadUsername, names: tuple[str, ...]) -> None:
    for name in names:
        if name in read.repeated:
            raise _Refused(
                "parameter_repeated",
                f"the parameter {name} came more than once in the MQTT user name: send it once, and write %26 for a"
                " `&` inside a value",
            )


def _means(name: str, reserved: str) -> bool:
    return name.lower().strip() == reserved or nearest(name.lower(), (reserved,)) is not None


def _names(read: ReadUsername) -> str:
    """The names of the parameters, without what may be a secret that was pasted in place of a name."""
    return redact_query(read.query) if read.query else "none"


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."


def _plain(result: object) -> dict[str, object] | None:
    return dict(result) if isinstance(result, dict) else None
