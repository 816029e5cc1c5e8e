"""What a format's folder has to give: a function from a message to what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from techport_ingest.decoding.lorawan import Codecs
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Ignored, Message, Observed
from techport_pilots.formats import NoOptions, formats
from techport_pilots.model import DeviceRule

Decoder = Callable[[Message, str], Sequence[Found]]
"""(message, device named by the topic) -> what is in it, in order: values, events, and what is ignored by rule. Raises
RejectedMessage, for the whole message.

The values of an Observed are as the payload had them, or finite floats where the format itself says what they are.
Decoding the same message again gives the same: a batch that could not be stored is decoded anew.

Formats whose payload or deeper topic names the device say so in what they return; the others return the device that
they were given, the one named by the topic.
"""


class DecoderSettings(msgspec.Struct, frozen=True):
    """What a decoder is made with. Decoders may remember: one belongs to one source of one worker."""

    options: Any = NoOptions()  # of the format's options type
    zone: ZoneInfo = ZoneInfo("UTC")  # the source's, for devices that send local times
    times: TimeReader = TimeReader()  # reads times as the source says; without one, those with an offset
    codecs: Codecs | None = None  # read the bytes of uplinks, where the source names some
    device: DeviceRule | None = None  # the source's rule, for formats that apply it themselves


def with_times(decode: Callable[..., Sequence[Found]]) -> Callable[[DecoderSettings], Decoder]:
    """For formats whose decoder remembers nothing and is told how to read times."""

    def of(settings: DecoderSettings) -> Decoder:
        times = settings.times
        return lambda message, device: decode(message, device, times)

    return of


def stateless(decode: Decoder) -> Callable[[DecoderSettings], Decoder]:
    """For formats whose decoder remembers nothing and has no settings."""
    return lambda settings: decode


def make_decoder(name: str, settings: DecoderSettings | None = None) -> Decoder:
    """A decoder of a format.

    Parameters
    ----------
    name : str
        Of the format, such as `native`; `formats()` has them all.
    settings : DecoderSettings, optional
        Options, time zone and payload codec of the source; the format's defaults where left out.

    Returns
    -------
    Decoder
        Called with (message, device named by the topic). It may remember, so it belongs to one source of one worker.

    Raises
    ------
    KeyError
        There is no such format.
    """
    form = formats()[name]
    decoder: Decoder = form.decoder(settings or DecoderSettings(form.options()))
    return decoder


def make_decoders() -> Mapping[str, Decoder]:
    """A decoder for every format, with the defaults. Not to be shared between threads."""
    return {name: make_decoder(name) for name in formats()}


def without_stale(message: Message, findings: Sequence[Found]) -> Sequence[Found]:
    """What is left of a retained message, the old value that a broker repeats to a new subscriber.

    A value without a time of its own would be stored as if it had been measured now: ignored. With its time it falls on
    the row that is already there.
    """
    if not message.retained:
        return findings
    return [
        Ignored(finding.device, "retained", finding.key, finding.value, None, finding.unit, finding.maker)
        if isinstance(finding, Observed) and finding.time is None
        else finding
        for finding in findings
    ]
