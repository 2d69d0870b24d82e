"""Which region and account the endpoint stands for: they are part of every ARN that a policy is asked about.

What the user says counts; else the first served host name that looks like AWS's (`xxx-ats.iot.REGION.amazonaws.com`)
gives the region. If neither says it, the endpoint stands for any: policies written for a real region and account then
work as they are, because the field is taken out of them (`Place.fit`) before they are evaluated. A wrong region in a
policy can only be found by an endpoint that knows its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

from ..authorizer.policy_document import PolicyDocument
from ..errors import ConfigurationError

ANY_REGION = "us-east-1"
"""Written into ARNs by an endpoint that stands for any region."""
ANY_ACCOUNT = "123456789012"
"""Written into ARNs by an endpoint that stands for any account; AWS's own example."""

_AWS_HOST = re.compile(r"[^.]+\.iot\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", re.ASCII | re.IGNORECASE)
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_ARN = re.compile(r"arn:([^:]*):iot:([^:]*):([^:]*):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """The region and account of an endpoint; `None` stands for any."""

    region: str | None
    account: str | None

    @classmethod
    def find(cls, region: str | None, account: str | None, hostnames: Sequence[str]) -> Self:
        """Take what is given, else what a host name says.

        Raises `ConfigurationError` for what is not a region (`eu-central-1`) or not an account (12 digits).
        """
        if region is not None and not _REGION.fullmatch(region):
            raise ConfigurationError(f"region {region!r}: write it like eu-central-1")
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(f"account {account!r}: write the 12 digits of an AWS account, as text")
        if region is None:
            named = (match[1].lower() for name in hostnames if (match := _AWS_HOST.fullmatch(name)))
            region = next(named, None)
        return cls(region, account)

    @property
    def arn_region(self) -> str:
        """The region in the ARNs of this endpoint."""
        return self.region or ANY_REGION

    @property
    def arn_account(self) -> str:
        """The account in the ARNs of this endpoint."""
        return self.account or ANY_ACCOUNT

    def fit(self, policies: Sequence[PolicyDocument]) -> tuple[PolicyDocument, ...]:
        """Return the policies with `*` for the fields that this endpoint does not know."""
        if self.region is not None and self.account is not None:
            return tuple(policies)
        return tuple(PolicyDocument.parse(self._fit(json.loads(policy.text))) for policy in policies)

    def _fit(self, value: object) -> object:
        if isinstance(value, str):
            arn = _ARN.fullmatch(value)
            if arn is None:
                return value
            partition, region, account, resource = arn.groups()
            region = "*" if self.region is None else region
            account = "*" if self.account is None else account
            return f"arn:{partition}:iot:{region}:{account}:{resource}"
        if isinstance(value, list):
            return [self._fit(each) for each in cast("list[object]", value)]
        if isinstance(value, dict):
            return {key: self._fit(each) for key, each in cast("dict[str, object]", value).items()}
        return value
