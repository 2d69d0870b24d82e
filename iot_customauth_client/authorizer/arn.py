"""The resources that AWS IoT policies speak about: ARNs of clients, topics and topic filters.

Each action is checked against one kind of resource: Connect against `client/`, Publish, RetainPublish and Receive
against `topic/`, Subscribe against `topicfilter/` (AWS page "AWS IoT Core policy actions"). Text is put in as it
is: an ARN of AWS IoT knows no escaping.
"""

_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))
"""Regions of these names live in a partition of their own (AWS page "Amazon Resource Names")."""


def client_arn(region: str, account: str, client_id: str) -> str:
    """Return the resource that `iot:Connect` is checked against."""
    return f"{_prefix(region, account)}client/{client_id}"


def topic_arn(region: str, account: str, topic: str) -> str:
    """Return the resource that `iot:Publish`, `iot:RetainPublish` and `iot:Receive` are checked against."""
    return f"{_prefix(region, account)}topic/{topic}"


def topicfilter_arn(region: str, account: str, topic_filter: str) -> str:
    """Return the resource that `iot:Subscribe` is checked against: the filter as the client sent it."""
    return f"{_prefix(region, account)}topicfilter/{topic_filter}"


def _prefix(region: str, account: str) -> str:
    partition = next((name for start, name in _PARTITIONS if region.startswith(start)), "aws")
    return f"arn:{partition}:iot:{region}:{account}:"
