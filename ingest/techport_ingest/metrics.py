"""What the ingestor says about itself at /metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from techport_pilots.accounting.tally import Tally

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Metrics:
    """Counters of one worker, in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "techport_ingest_messages", "Messages taken from the broker and acknowledged", registry=registry
        )
        self.values = Counter("techport_ingest_values", "Values by what became of them", ["outcome"], registry=registry)
        self.quarantined = Counter(
            "techport_ingest_quarantined_messages",
            "Entries of the quarantine, by reason",
            ["reason"],
            registry=registry,
        )
        self.set_aside = Counter(
            "techport_ingest_set_aside",
            "Old name of techport_ingest_quarantined_messages",
            ["reason"],
            registry=registry,
        )
        self.ignored = Counter(
            "techport_ingest_ignored", "Parts of messages that are no reading, by rule", ["rule"], registry=registry
        )
        self.retries = Counter(
            "techport_ingest_retries", "Steps that had to wait for the store or the ledger", ["step"], registry=registry
        )
        self.restarts = Counter("techport_ingest_restarts", "Times that the loop was started again", registry=registry)
        self.batch = Histogram(
            "techport_ingest_batch_messages", "Messages in a batch", buckets=_MESSAGES, registry=registry
        )
        self.commit = Histogram(
            "techport_ingest_commit_seconds",
            "From the first look at a batch until it is durable",
            buckets=_SECONDS,
            registry=registry,
        )
        self.codec_deaths = Counter(
            "techport_ingest_codec_deaths",
            "Processes of JavaScript codecs that ended at a message, by reason",
            ["reason"],
            registry=registry,
        )
        self.codecs_disabled = Counter(
            "techport_ingest_codecs_disabled", "JavaScript codecs that were disabled", registry=registry
        )
        self.lag = Gauge(
            "techport_ingest_lag_seconds", "Age of the oldest message that is not acknowledged", registry=registry
        )
        self.connected = Gauge(
            "techport_ingest_connected", "1 while the broker's subscription stands", registry=registry
        )

    def count(self, messages: int, total: Tally, reasons: list[str], seconds: float) -> None:
        """Add one committed batch."""
        self.messages.inc(messages)
        self.batch.observe(messages)
        self.commit.observe(seconds)
        for outcome in ("stored", "duplicates", "corrections", "quarantined", "ignored"):
            amount = getattr(total, outcome)
            if amount:
                self.values.labels(outcome).inc(amount)
        for reason in reasons:
            self.quarantined.labels(reason).inc()
            self.set_aside.labels(reason).inc()

    def count_codec_death(self, reason: str, disabled: bool) -> None:
        """Add a process of a codec that ended; `reason` is the one of the rejection."""
        self.codec_deaths.labels(reason).inc()
        if disabled:
            self.codecs_disabled.inc()

    def count_ignored(self, parts: Iterable[tuple[str, int]]) -> None:
        """Add what a committed batch passed over. Rules are a fixed set of words: no label a device could invent."""
        for rule, values in parts:
            self.ignored.labels(rule).inc(values)
