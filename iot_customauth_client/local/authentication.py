"""From what a client presents to a question for an authorizer function, and from its answer to a grant or a refusal.

::

    Presented ──question()──> Question ──(the function runs)──> Answer ──judge()──> Verdict with an AuthorizerResult
        └───────────────────> Refusal                                      └──────> Verdict with a Refusal

The order of the checks is the service's: find the names (`presented.py`), find the authorizer, is it ACTIVE, is the
token there and does its signature verify, only then the function. There is one way for all protocols and carriers;
only the words of an explanation depend on the carrier (`credential_advice.py`). No I/O, no waiting; the policy is the
broker's matter.

The service tells a client none of these causes. Each refusal names its cause in one sentence that holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from .. import limits
from ..authorizer.event import AuthorizerEvent, build_event
from ..authorizer.result import AuthorizerResult, InvalidResult, validate_result
from ..carriage import NAME_PARAMETER, SIGNATURE_PARAMETER
from . import credential_advice as advice
from .authorizer_calls import Answer
from .authorizers import LocalAuthorizer
from .choices import DEFAULT_CHOICES, Choices
from .events import DEFAULT_DOMAIN, AuthorizerOutcome
from .presented import Carried, Carrier, Presented, choose_carrier, conflict
from .redaction import scrub, shown_result
from .signatures import SignatureError, verify


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client is refused: `cause` is a stable slug, `explanation` one sentence."""

    cause: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask which authorizer, about a client that connected by `server_name`.

    The repr shows no event: it holds the device's secrets.
    """

    name: str
    authorizer: LocalAuthorizer
    event: AuthorizerEvent
    server_name: str | None = None

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
    """The authorizers of an endpoint, and the way from what a client of one domain presents to one of them.

    default: who is asked when the client names nobody. may_name: whether it may name another one. domain: the name of
    the domain configuration, for the log.
    """

    def __init__(
        self,
        authorizers: Mapping[str, LocalAuthorizer],
        default: str | None,
        choices: Choices = DEFAULT_CHOICES,
        *,
        may_name: bool = True,
        domain: str = DEFAULT_DOMAIN,
    ) -> None:
        self._authorizers = authorizers
        self._default = default
        self._choices = choices
        self._may_name = may_name
        self._domain = domain
        keys = (authorizer.token_key_name for authorizer in authorizers.values())
        self._key_names = {*limits.RESERVED_PARAMETERS, *(name for key in keys if key for name in (key, key.lower()))}
        self._default_key = None if default is None else authorizers[default].token_key_name

    def wanted(self, presented: Presented) -> str | None:
        """Return the name of the authorizer that this leads to, if there is one."""
        carried = self._read(presented)
        name = None if self._refuses_name(carried) else self._name(carried)
        return name if name in self._authorizers else None

    def carrier(self, presented: Presented) -> Carrier | None:
        """Return where the credentials were found; None if none of the names came."""
        carried = choose_carrier(presented, self._default_key)
        return None if carried is None else carried.carrier

    def warnings(self, presented: Presented) -> list[tuple[str, str]]:
        """Return cause and explanation of all that will surprise.

        A name that does not count, a signature that nobody verifies, two carriers, a parameter that nobody reads.
        """
        found: list[tuple[str, str]] = []
        carried = self._read(presented)
        idle_name = self._idle_name(carried)
        if idle_name is not None and not self._refuses_name(carried):
            found.append(("override_ignored", advice.override_ignored(idle_name, self._default or "", self._domain)))
        name = self.wanted(presented)
        if name is not None and self._authorizers[name].signing_disabled and carried.get(SIGNATURE_PARAMETER):
            sentence = (
                f"authorizer `{name}` was made with signing disabled, which cannot be changed: the signature that came"
                " is not verified, and the function is told signatureVerified false"
            )
            found.append(("signature_not_verified", sentence))
        two_places = conflict(presented, self._default_key)
        if two_places is not None and self._choices.credentials_in_two_places == "first_counts":
            found.append(("credentials_in_two_places", two_places))
        found += (("parameter_misspelt", each) for each in self._misspelt(presented))
        return found  # where two places are refused, the refusal says it

    def _misspelt(self, presented: Presented) -> list[str]:
        """Say which parameters almost have a reserved name, and so are not read."""
        meant = [SIGNATURE_PARAMETER]
        if self._default is not None:
            meant.append(NAME_PARAMETER)  # without a default one, the refusal of the client says it
        return [each for carried in presented.carriers() for each in advice.misspelt(carried, meant, self._key_names)]

    def check_upgrade(self, presented: Presented) -> Refusal | None:
        """Check what is known before CONNECT: authorizer and signature, if the upgrade carries them."""
        if choose_carrier(presented, self._default_key) is None and not presented.has_sigv4:
            return None  # then CONNECT has them
        try:
            self._verified(presented)
        except _Refused as refused:
            return refused.refusal
        return None

    def question(self, presented: Presented, *, connection_id: str) -> Question | Refusal:
        """Check all that comes before the function is called."""
        try:
            name, authorizer, carried, verified = self._verified(presented)
        except _Refused as refused:
            return refused.refusal
        http, mqtt = presented.http, presented.mqtt
        if carried.carrier is not Carrier.USERNAME and self._choices.mqtt_in_upgrade_event == "absent":
            mqtt = None
        event = build_event(
            connection_id=connection_id,
            signature_verified=verified,
            server_name=presented.server_name,
            token=self._token(authorizer, carried, presented),
            headers=None if http is None else _joined(http.headers),
            query_string=None if http is None else http.query,
            username=None if mqtt is None else self._username(mqtt.username),
            password=None if mqtt is None else mqtt.password,
            client_id=None if mqtt is None else mqtt.client_id or None,
        )
        return Question(name, authorizer, event, presented.server_name)

    def _token(self, authorizer: LocalAuthorizer, carried: Carried, presented: Presented) -> str | None:
        """Return the token as the function is told it."""
        key_name = authorizer.token_key_name
        if key_name is None:
            return None
        if self._choices.token_in_event == "decoded" or carried.carrier is Carrier.HEADERS:
            return carried.get(key_name)
        return presented.raw_value(carried.carrier, key_name)

    def _username(self, username: str | None) -> str | None:
        """Return the MQTT user name as the function is told it."""
        if username is None or self._choices.username_in_event == "raw":
            return username
        return unquote(username)

    def _read(self, presented: Presented) -> Carried:
        """Return the carrier that counts; where nothing was found, the one in which a client should have sent it."""
        found = choose_carrier(presented, self._default_key)
        if found is not None:
            return found
        carriers = presented.carriers()
        return carriers[-1] if presented.mqtt is not None else carriers[0]

    def _name(self, carried: Carried) -> str | None:
        """Return the name that counts: the client's if it may give one, else the default's."""
        given = carried.get(NAME_PARAMETER) if self._may_name else None
        return self._default if given is None else given

    def _idle_name(self, carried: Carried) -> str | None:
        """Return the name that a client gave although it may not, if that makes a difference."""
        given = None if self._may_name else carried.get(NAME_PARAMETER)
        return None if given == self._default else given

    def _refuses_name(self, carried: Carried) -> bool:
        """Tell whether a client is refused for the name that it gave."""
        return self._choices.disallowed_override == "refuse" and self._idle_name(carried) is not None

    def _verified(self, presented: Presented) -> tuple[str, LocalAuthorizer, Carried, bool]:
        """Return the authorizer, its name, where it was named, and whether a signature was verified."""
        if presented.has_sigv4:
            raise _Refused("sigv4", advice.SIGV4)
        if self._choices.credentials_in_two_places == "refused":
            two_places = conflict(presented, self._default_key, refused=True)
            if two_places is not None:
                raise _Refused("credentials_in_two_places", two_places)
        carried = self._read(presented)
        name, authorizer = self._find(carried)
        if authorizer.signing_disabled:
            return name, authorizer, carried, False
        self._check_signature(name, authorizer, carried, presented)
        return name, authorizer, carried, True

    def _find(self, carried: Carried) -> tuple[str, LocalAuthorizer]:
        if "?" in carried.base and self._choices.two_question_marks == "refused":
            raise _Refused("username_unreadable", advice.TWO_QUESTION_MARKS)
        _check_repeated(carried, limits.RESERVED_PARAMETERS)
        if self._refuses_name(carried):
            sentence = advice.override_refused(self._idle_name(carried) or "", self._default or "", self._domain)
            raise _Refused("override_not_allowed", sentence)
        name = self._name(carried)
        if name is None:
            raise _Refused("authorizer_not_named", advice.authorizer_not_named(carried, self._authorizers))
        authorizer = self._authorizers.get(name)
        if authorizer is None:
            raise _Refused("authorizer_unknown", advice.authorizer_unknown(name, self._authorizers))
        if authorizer.status != "ACTIVE":
            raise _Refused(
                "authorizer_inactive", f"authorizer `{name}` is {authorizer.status}: set its status to ACTIVE"
            )
        return name, authorizer

    def _check_signature(self, name: str, authorizer: LocalAuthorizer, carried: Carried, presented: Presented) -> None:
        """Verify the token's signature, or raise."""
        key_name = authorizer.token_key_name or ""
        _check_repeated(carried, (key_name,))
        token = carried.get(key_name)
        if token is None:
            raise _Refused("token_missing", advice.token_missing(name, key_name, carried, presented))
        signature = carried.get(SIGNATURE_PARAMETER)
        if signature is None:
            raise _Refused("signature_missing", advice.signature_missing(name, carried, presented))
        in_headers, decoded = carried.carrier is Carrier.HEADERS, self._choices.signature_in_header == "decoded"
        if in_headers and decoded:
            signature = unquote(signature)
        try:
            verify(token, signature, authorizer.loaded_keys)
        except SignatureError as error:
            explanation = advice.signature_invalid(
                name, error, token, signature, carried, decoded=decoded or not in_headers
            )
            raise _Refused("signature_invalid", explanation) from error


def judge(question: Question, answer: Answer, *, show_secrets: bool, choices: Choices = DEFAULT_CHOICES) -> Verdict:
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
        result = validate_result(
            answer.result,
            clamp_seconds=choices.seconds_out_of_range == "clamped",
            documents_as_text=choices.policy_as_text == "accepted",
        )
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


def _check_repeated(carried: Carried, names: tuple[str, ...]) -> None:
    for name in names:
        if carried.repeats(name):
            raise _Refused("parameter_repeated", advice.repeated(name, carried))


def _joined(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Headers as the event has them: one value for each name (RFC 9110 section 5.2 joins them with commas)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _plain(result: object) -> dict[str, object] | None:
    return dict(result) if isinstance(result, dict) else None
