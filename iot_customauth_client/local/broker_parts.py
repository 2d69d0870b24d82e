"""What a broker is made of, put together: who is given whom.

Each part takes what it needs when it is made and looks nothing up later, so the order here is the order in which they
depend on each other. Nothing happens here: the parts act, and `broker.py` calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from .agenda import Agenda
from .answers import Answers
from .arrivals import Arrivals
from .broker_limits import BrokerLimits
from .choices import Choices
from .connections import Connections
from .data_plane import DataPlane
from .deliveries import Deliveries
from .dialogue import Dialogue, RefusedSubscribe311
from .faults import Faults
from .holdings import Holdings
from .lifecycle import Lifecycle
from .post import Post
from .quotas import AccountQuotas, Quotas
from .router import Router
from .sessions import Sessions
from .sharing import Sharing


def random_uuid() -> str:
    """Return a new UUID, as text."""
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class BrokerParts:
    """Those parts of a broker that it calls itself."""

    agenda: Agenda
    router: Router
    sessions: Sessions
    connections: Connections
    arrivals: Arrivals
    dialogue: Dialogue
    data_plane: DataPlane

    @classmethod
    def assemble(
        cls,
        *,
        region: str,
        account: str,
        refused_subscribe_311: RefusedSubscribe311,
        quotas: Quotas,
        session_expiry_seconds: int,
        choices: Choices,
        limits: BrokerLimits,
        faults: Faults,
        choose: Callable[[int], int],
        new_uuid: Callable[[], str],
        wall_time: Callable[[], float],
    ) -> Self:
        """Make all parts; the arguments are those of `Broker`."""
        agenda = Agenda()
        holdings = Holdings(limits.max_held_bytes, limits.max_flying_bytes, limits.max_will_bytes)
        post = Post(faults, agenda)
        answers = Answers(post, new_uuid)
        account_quotas = AccountQuotas() if quotas == "aws" else None
        deliveries = Deliveries(post, agenda, quotas=account_quotas, choices=choices)
        sharing = Sharing(
            deliveries,
            agenda,
            quotas=account_quotas,
            choose=choose,
            retention_seconds=session_expiry_seconds,
            max_members=limits.max_shared_members,
            max_messages=limits.max_queued_messages,
            max_bytes=limits.max_queued_bytes,
            holdings=holdings,
        )
        router = Router(
            deliveries,
            sharing,
            max_retained_messages=limits.max_retained_messages,
            max_subscriptions=limits.max_subscriptions,
            choices=choices,
        )
        sessions = Sessions(
            router,
            agenda,
            max_expiry_seconds=session_expiry_seconds,
            choices=choices,
            max_kept=limits.max_kept_sessions,
            max_messages=limits.max_queued_messages,
            max_bytes=limits.max_queued_bytes,
            holdings=holdings,
        )
        lifecycle = Lifecycle(router, new_uuid=random_uuid, wall_time=wall_time)
        connections = Connections(sessions, router, answers, post, agenda, lifecycle, choices=choices)
        arrivals = Arrivals(
            connections,
            sessions,
            router,
            answers,
            post,
            faults,
            lifecycle,
            region=region,
            account=account,
            quotas=account_quotas,
            choices=choices,
            new_uuid=new_uuid,
        )
        dialogue = Dialogue(
            router, answers, faults, lifecycle, refused_subscribe_311=refused_subscribe_311, choices=choices
        )
        data_plane = DataPlane(router, sessions, connections, account_quotas)
        return cls(agenda, router, sessions, connections, arrivals, dialogue, data_plane)
