"""What NATS calls the topics of MQTT, and the filters of a JetStream consumer for topic filters.

NATS' MQTT gateway turns levels into tokens (its mqtt.go, mqttToNATSSubjectConversion):

    pilots/air/lamp-1/readings      pilots.air.lamp-1.readings
    v1.1/Datastreams                v1//1.Datastreams               a dot is two slashes
    a//b   /a   a/                  a./.b   /.a   a./               an empty level is a slash

A topic with white space has no subject: NATS ends the connection of who publishes to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from techport_pilots.topics import essential, overlap

STREAM = "$MQTT_msgs"
"""The stream of the gateway: messages of QoS 1 and 2, for as long as some consumer has still to get them."""

STORED = "$MQTT.msgs."
"""What stands before the subject of a message in that stream."""

RETAINED_STREAM = "$MQTT_rmsgs"
"""The gateway's stream of retained messages, one for each topic."""

RETAINED = "$MQTT.rmsgs."
"""What stands before the subject of a retained message."""

_PARTS = re.compile(r"/\.|//|[./]")
_TOPIC_PARTS = {"/.": "/", "//": ".", ".": "/", "/": ""}


def subject_of(topic: str) -> str:
    """The subject of a topic, or of a topic filter without a `#`."""
    levels = ("/" if level == "" else level.replace(".", "//") for level in topic.split("/"))
    return ".".join("*" if level == "+" else level for level in levels)


def topic_of(subject: str) -> str:
    """The topic that a subject stands for."""
    if "/" not in subject:
        return subject.replace(".", "/")
    return _PARTS.sub(lambda part: _TOPIC_PARTS[part[0]], subject)


def subjects_of(topic_filter: str) -> tuple[str, ...]:
    """The subjects that a topic filter takes: `a/#` is two, because it takes `a` as well."""
    if topic_filter == "#":
        return (">",)
    above, hash_, rest = topic_filter.partition("/#")
    if not hash_ or rest:
        return (subject_of(topic_filter),)
    return (subject_of(above), f"{subject_of(above)}.>")


def consumer_filters(topics: Iterable[str]) -> list[str]:
    """The filters of a JetStream consumer that gets everything these topic filters take.

    A consumer's filters may not overlap: those that do become one that takes both and more, which the pipeline sorts
    out.
    """
    filters = list(essential(topics))
    while pair := next(
        ((left, right) for left in filters for right in filters if left < right and overlap(left, right)), None
    ):
        joined = _join(*pair)
        filters = list(essential([*(name for name in filters if name not in pair), joined]))
    return sorted(STORED + subject for topic in filters for subject in subjects_of(topic))


def _join(left: str, right: str) -> str:
    """The narrowest filter of this kind that takes what both take."""
    levels: list[str] = []
    left_levels, right_levels = left.split("/"), right.split("/")
    for one, other in zip(left_levels, right_levels, strict=False):
        if "#" in (one, other):
            return "/".join([*levels, "#"])
        levels.append(one if one == other else "+")
    return "/".join(levels if len(left_levels) == len(right_levels) else [*levels, "#"])


CONSUMER = "techport"
"""The durable consumer that all workers pull from, and the queue group for what is not stored."""


def inbox_prefix(username: str | None) -> str:
    """Where answers to a user's requests go. Nobody else may listen there."""
    return f"_INBOX_{username or 'techport'}"
