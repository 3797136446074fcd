"""Counters of a running server, in the text that Prometheus reads; nothing in them names a person or a file."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What has happened since the start, and what is the case now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._gauges: dict[str, Callable[[], float]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]
            self._buckets.update((route, bound) for bound in _BOUNDS if seconds <= bound)

    def count(self, event: str, number: int = 1) -> None:
        """Count an event, such as a synthesis or the end of a decoder."""
        with self._lock:
            self._events[event] += number

    def watch(self, name: str, value: Callable[[], float]) -> None:
        """Tell a value whenever somebody asks."""
        self._gauges[name] = value

    def text(self) -> str:
        """All of it as Prometheus reads it."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield "# TYPE mris_requests_total counter"
        for (route, status), number in sorted(self._requests.items()):
            yield f'mris_requests_total{{route="{route}",status="{status}"}} {number}'
        yield "# TYPE mris_request_seconds histogram"
        for route, total in sorted(self._seconds.items()):
            count = sum(number for (of, _), number in self._requests.items() if of == route)
            for bound in _BOUNDS:
                yield f'mris_request_seconds_bucket{{route="{route}",le="{bound:g}"}} {self._buckets[route, bound]}'
            yield f'mris_request_seconds_bucket{{route="{route}",le="+Inf"}} {count}'
            yield f'mris_request_seconds_sum{{route="{route}"}} {total:.6f}'
            yield f'mris_request_seconds_count{{route="{route}"}} {count}'
        for event, number in sorted(self._events.items()):
            yield f"# TYPE mris_{event}_total counter"
            yield f"mris_{event}_total {number}"
        for name, value in sorted(self._gauges.items()):
            yield f"# TYPE mris_{name} gauge"
            yield f"mris_{name} {value():g}"
