"""What is wrong with the credentials a client sent, in the words of the place where it sent them.

The mistakes are the same in each carrier, what to write instead is not: a query is percent-encoded, a header is not.
Each function returns one sentence, or a few; none holds a value that could be a secret.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from .._suggest import nearest
from ..carriage import NAME_PARAMETER, SIGNATURE_PARAMETER, shown_name
from ..limits import RESERVED_PARAMETERS
from .presented import Carried, Carrier, Presented
from .signatures import SignatureError
from .words import listed

_SHOWN_CHARACTERS: Final = 128
_REACH: Final = max(map(len, RESERVED_PARAMETERS)) - len(NAME_PARAMETER) + 2
_MOST_COMPARED: Final = 20  # a user name may hold thousands of parameters, and to compare one takes a tenth of a ms

TWO_QUESTION_MARKS: Final = (
    "the MQTT user name holds more than one `?`: the service takes what follows the last one for the query,"
    " so the parameters before it are not seen; write one `?` and join all parameters with `&`"
    " (if an AWS SDK appended `?SDK=...`, switch its metrics off), and write %3F for a `?` in a value"
)
SIGV4: Final = (
    "the request is signed with AWS credentials (SigV4): the service then asks no authorizer, and this endpoint serves"
    " custom authentication only; switch SigV4 off in the client"
)


@dataclass(frozen=True, slots=True)
class _Words:
    """How to send each of the three names in one carrier; `{}` stands for the token key name."""

    name_it: str
    token: str
    signature: str
    parameter: str
    repeated: str


_WORDS: Final = {
    Carrier.USERNAME: _Words(
        name_it=f"append ?{NAME_PARAMETER}=NAME to the MQTT user name",
        token="append it as `{}=TOKEN`, the authorizer's token key name",
        signature=f"append it as {SIGNATURE_PARAMETER}=SIGNATURE, base64 and then percent-encoded once",
        parameter="parameter",
        repeated="send it once, and write %26 for a `&` inside a value",
    ),
    Carrier.QUERY: _Words(
        name_it=f"append {NAME_PARAMETER}=NAME to the URL's query, or send it as a header",
        token="append it as `{}=TOKEN`, the authorizer's token key name",
        signature=f"append it as {SIGNATURE_PARAMETER}=SIGNATURE, base64 and then percent-encoded once",
        parameter="parameter",
        repeated="send it once, and write %26 for a `&` inside a value",
    ),
    Carrier.HEADERS: _Words(
        name_it=f"send the header {NAME_PARAMETER}: NAME, or the same as a query parameter",
        token="send it as the header `{}: TOKEN`, the authorizer's token key name",
        signature=f"send it as the header {SIGNATURE_PARAMETER}: SIGNATURE, base64 as it is, not percent-encoded",
        parameter="header",
        repeated="send it once",
    ),
}


def authorizer_not_named(carried: Carried, known: Collection[str]) -> str:
    """No authorizer is named, and there is no default one."""
    sentence = (
        f"no authorizer is named and the endpoint has no default one: {_WORDS[carried.carrier].name_it};"
        f" known: {listed(known)}"
    )
    names = (name for name, _ in carried.parameters if shown_name(name.strip(), "a value") == name.strip())
    misspelt = next((name for name in names if _means_the_name(name, carried.carrier)), None)
    if misspelt is not None:
        case = "" if carried.carrier is Carrier.HEADERS else ", in lower case"
        sentence += f". The parameter `{misspelt}` is not read: write {NAME_PARAMETER}{case}"
    elif not carried.has_query and NAME_PARAMETER in carried.base:
        sentence += ". The user name holds the parameter without a `?` before it"
    return sentence


def authorizer_unknown(name: str, known: Collection[str]) -> str:
    """An authorizer is named that there is not."""
    sentence = f"authorizer `{_shown(name)}` is unknown; known: {listed(known)}"
    meant = nearest(name, known)
    if "%" in name:
        sentence += ". Its name still holds a `%`: it was percent-encoded twice, or put into a header encoded"
    elif name.strip("'\"") != name:
        sentence += ". Write the name without quotation marks"
    elif meant is not None:
        sentence += f". Did you mean `{meant}`?"
    return sentence


def override_ignored(name: str, default: str, domain: str) -> str:
    """A name came that does not count."""
    return (
        f"{_not_allowed(name, domain)}: the name is ignored and `{default}` is asked. What the service does is not"
        f" documented, it may refuse the client: {_OVERRIDE_ADVICE}"
    )


def override_refused(name: str, default: str, domain: str) -> str:
    """A name came that may not."""
    return (
        f"{_not_allowed(name, domain)}, and disallowed_override is set to refuse: only `{default}` is asked;"
        f" {_OVERRIDE_ADVICE}"
    )


_OVERRIDE_ADVICE: Final = "leave the name out, or set allow_authorizer_override of the domain configuration to true"


def _not_allowed(name: str, domain: str) -> str:
    return f"authorizer `{_shown(name)}` is named, but domain configuration `{domain}` does not allow an override"


def misspelt(carried: Carried, meant: Collection[str], known: Collection[str]) -> list[str]:
    """Parameters came that are not read, and almost have a name in `meant`; names in `known` are right as they are."""
    candidates = (name for name, _ in carried.parameters if abs(len(name) - len(NAME_PARAMETER)) <= _REACH)
    found = []
    for name in [name for name in dict.fromkeys(candidates) if name not in known][:_MOST_COMPARED]:
        right = nearest(name.strip().lower().replace("_", "-"), meant, likeness=0.9)
        if right is None or carried.holds([right]):
            continue
        what = _WORDS[carried.carrier].parameter
        shown = f"the {what} `{name}`" if shown_name(name, "a value") == name else f"a {what}"
        how = ", in lower case" if name.lower() == right else ", without spaces" if name.strip() == right else ""
        found.append(f"{shown} in {carried.carrier.value} is not read: did you mean {right}{how}?")
    return found


def token_missing(name: str, key_name: str, carried: Carried, presented: Presented) -> str:
    """The authorizer verifies signatures, and there is no token."""
    words = _WORDS[carried.carrier]
    return (
        f"authorizer `{name}` verifies signatures, and {_holds_none(carried, 'no token')}:"
        f" {words.token.format(key_name)}; {words.parameter}s that came: {carried.names()}"
        f"{_elsewhere(key_name, carried, presented)}"
    )


def signature_missing(name: str, carried: Carried, presented: Presented) -> str:
    """The authorizer verifies signatures, and there is none."""
    words = _WORDS[carried.carrier]
    return (
        f"authorizer `{name}` verifies signatures, and {_holds_none(carried, 'none')}: {words.signature};"
        f" {words.parameter}s that came: {carried.names()}{_elsewhere(SIGNATURE_PARAMETER, carried, presented)}"
    )


def signature_invalid(
    name: str, error: SignatureError, token: str, signature: str, carried: Carried, *, decoded: bool
) -> str:
    """The signature does not verify. decoded: it was percent-decoded, also if it came in a header."""
    in_headers = carried.carrier is Carrier.HEADERS
    if "%" in signature and not decoded:
        return (
            f"authorizer `{name}`: the signature holds a `%`: it was percent-encoded; headers are not decoded, so send"
            " the base64 text as it is (choices: signature_in_header)"
        )
    sentence = f"authorizer `{name}`: {error}."
    if "%" in token:
        sentence += " The token itself still holds a `%`: "
        sentence += "was it encoded? Headers are not decoded" if in_headers else "was it encoded twice?"
    return sentence


def repeated(name: str, carried: Carried) -> str:
    """A name came twice."""
    words = _WORDS[carried.carrier]
    return f"the {words.parameter} {name} came more than once in {carried.carrier.value}: {words.repeated}"


def _holds_none(carried: Carried, what: str) -> str:
    verb = "hold" if carried.carrier is Carrier.HEADERS else "holds"
    return f"{carried.carrier.value} {verb} {what}"


def _elsewhere(name: str, carried: Carried, presented: Presented) -> str:
    others = (each for each in presented.carriers() if each.carrier is not carried.carrier)
    other = next((each for each in others if each.holds([name])), None)
    if other is None:
        return ""
    return f". It came in {other.carrier.value}: send all of them in one place, {carried.carrier.value}"


def _means_the_name(name: str, carrier: Carrier) -> bool:
    name = name.lower().strip()
    if name == SIGNATURE_PARAMETER or (carrier is Carrier.HEADERS and "auth" not in name):
        return False  # HTTP clients send many headers whose names are a little alike
    return name == NAME_PARAMETER or nearest(name, (NAME_PARAMETER,)) is not None


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
