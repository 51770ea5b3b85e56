"""The account as metrics, under OpenTelemetry's own names: what its SDK tells of its processors and exporters.

As there (semantic conventions, "OpenTelemetry SDK metrics"), they are off unless
``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true``, and the meter is ``opentelemetry-sdk``, with our version: a meter of
the SDK forgets the callbacks of whoever registers an observable instrument second. All are observable and read what is
counted anyway, so that recording pays nothing. The figures are those of the recorder, which all doors to one file in a
process share: of several components of one type on it the first one tells them. A span counts as processed, or
exported, when it is committed to the file, and ``error.type`` is the reason for which it was dropped.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from otel_perfmon.storage.recorder import QUEUE_MAX, Recorder

GATE: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
METER: Final = "opentelemetry-sdk"
_UNIT: Final = "{span}"
_Attributes = dict[str, str]
_Figures = Callable[[Recorder, _Attributes], Iterator[Observation]]

_logger = logging.getLogger("otel_perfmon")
_lock = threading.Lock()
_processors: WeakKeyDictionary[Recorder, _Attributes] = WeakKeyDictionary()
_exporters: WeakKeyDictionary[Recorder, _Attributes] = WeakKeyDictionary()
_numbers: dict[str, int] = {}
_told: WeakSet[MeterProvider] = WeakSet()


def tell_of_processor(processor: object, recorder: Recorder) -> None:
    """Have the recorder's figures told as those of this span processor, if the environment asks for it."""
    _tell_of(_processors, processor, recorder)


def tell_of_exporter(exporter: object, recorder: Recorder) -> None:
    """The same, as those of a span exporter."""
    _tell_of(_exporters, exporter, recorder)


def _tell_of(components: WeakKeyDictionary[Recorder, _Attributes], component: object, recorder: Recorder) -> None:
    if os.environ.get(GATE, "").strip().lower() != "true":
        return
    with _lock:
        if recorder not in components:
            kind = f"{type(component).__module__}.{type(component).__qualname__}"
            number = _numbers[kind] = _numbers.get(kind, -1) + 1
            components[recorder] = {"otel.component.type": kind, "otel.component.name": f"{kind}/{number}"}
        provider = get_meter_provider()
        if provider not in _told:
            _told.add(provider)
            try:
                _register(provider)
            except (
                Exception
            ) as error:  # the outer rim: somebody's own meter provider must not cost the program its spans
                _logger.warning("The account cannot be told as metrics: %r", error)


def _register(provider: MeterProvider) -> None:
    meter = provider.get_meter(METER, _version())
    up_down, counter = meter.create_observable_up_down_counter, meter.create_observable_counter
    for create, name, components, figures, description in (
        (up_down, "processor.span.queue.size", _processors, _queue_size, _QUEUE_SIZE),
        (up_down, "processor.span.queue.capacity", _processors, _queue_capacity, _QUEUE_CAPACITY),
        (counter, "processor.span.processed", _processors, _ended, _PROCESSED),
        (up_down, "exporter.span.inflight", _exporters, _queue_size, _INFLIGHT),
        (counter, "exporter.span.exported", _exporters, _ended, _EXPORTED),
    ):
        create(f"otel.sdk.{name}", [_callback(components, figures)], unit=_UNIT, description=description)


def _callback(
    components: WeakKeyDictionary[Recorder, _Attributes], figures: _Figures
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        with _lock:
            told = list(components.items())
        return [observation for recorder, attributes in told for observation in figures(recorder, attributes)]

    return observe


def _queue_size(recorder: Recorder, attributes: _Attributes) -> Iterator[Observation]:
    yield Observation(recorder.queued_count, attributes)


def _queue_capacity(_: Recorder, attributes: _Attributes) -> Iterator[Observation]:
    yield Observation(QUEUE_MAX, attributes)


def _ended(recorder: Recorder, attributes: _Attributes) -> Iterator[Observation]:
    yield Observation(recorder.ledger.counted_count, attributes)
    for reason, count in recorder.ledger.dropped_counts.items():
        yield Observation(count, {**attributes, "error.type": reason})


def _version() -> str | None:
    from importlib import metadata  # noqa: PLC0415 - a fifth of what `configure` takes to import, and few ask

    try:
        return metadata.version("otel-perfmon")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return None


_QUEUE_SIZE: Final = "The number of spans in the queue of a given instance of an SDK span processor."
_QUEUE_CAPACITY: Final = "The maximum number of spans the queue of a given instance of an SDK span processor can hold."
_PROCESSED: Final = "The number of spans for which the processing has finished, either successful or failed."
_INFLIGHT: Final = (
    "The number of spans which were passed to the exporter, but that have not been exported yet (neither successful,"
    " nor failed)."
)
_EXPORTED: Final = "The number of spans for which the export has finished, either successful or failed."
