"""``/metrics``, for Prometheus. No label has a value that a stranger can choose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from billots.messages import Info
from billots.version import __version__
from billots.web.inquiry import Peer

CONTENT_TYPE = CONTENT_TYPE_LATEST
_COUNT = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)
_COUNTS_MAX = 64


@dataclass(frozen=True, eq=False)  # a registry keeps it by its identity
class Seen(Collector):
    """What one look at the server and at the pages gave. `info` is None if it is down."""

    info: Info | None
    peers: Sequence[Peer]
    answers: Mapping[int, int]
    streams: int
    following: bool
    disputes: int

    def collect(self) -> Iterator[Metric]:
        """All of it as Prometheus has it."""
        yield from self._server()
        yield from self._peers()
        answers = CounterMetricFamily(
            "billots_web_responses", "Answers of these pages, by status.", labels=["status"]
        )
        for status, count in sorted(self.answers.items()):
            answers.add_metric([str(status)], count)
        yield answers
        yield GaugeMetricFamily("billots_web_streams", "Open streams of events.", self.streams)
        yield GaugeMetricFamily(
            "billots_web_following", "Whether these pages follow the feed.", float(self.following)
        )
        yield GaugeMetricFamily(
            "billots_web_disputes_seen", "Double spends seen since these pages run.", self.disputes
        )

    def _server(self) -> Iterator[Metric]:
        info = self.info
        yield GaugeMetricFamily("billots_up", "Whether the server answers.", float(bool(info)))
        about = GaugeMetricFamily(
            "billots_pages_info", "The version of these pages.", labels=["version"]
        )
        about.add_metric([__version__], 1)
        yield about
        if info is None:
            return
        yield GaugeMetricFamily("billots_started_seconds", "When it was started.", info.started)
        yield GaugeMetricFamily("billots_feed_lsn", "The newest lsn of its feed.", info.lsn)
        counts = GaugeMetricFamily("billots_count", "Counts of `info`.", labels=["name"])
        for name, count in sorted(info.counts.items())[:_COUNTS_MAX]:
            if _COUNT.fullmatch(name):
                counts.add_metric([name], count)
        yield counts

    def _peers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "billots_peer_up", "Whether it gave signed answers.", labels=["peer"]
        )
        lsn = GaugeMetricFamily(
            "billots_peer_feed_lsn", "The newest lsn of its own feed.", labels=["peer"]
        )
        rows = GaugeMetricFamily(
            "billots_peer_newest_billots",
            "The newest billots that moved: has them as a quorum does, is behind, or differs.",
            labels=["peer", "stands"],
        )
        for peer in self.peers:
            up.add_metric([peer.place], float(peer.problem is None))
            if peer.problem is not None:
                continue
            lsn.add_metric([peer.place], peer.lsn)
            for stands in ("agrees", "behind", "differs"):
                rows.add_metric([peer.place, stands], getattr(peer, stands))
        yield from (up, lsn, rows)


def exposition(seen: Seen) -> bytes:
    """The text of one scrape, from a registry of its own: nothing of the process is in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(seen)
    return generate_latest(registry)
