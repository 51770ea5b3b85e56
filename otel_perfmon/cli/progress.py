"""A bar on standard error, for who watches a command that takes its time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otel_perfmon.cli.escaping import escape


class Progress:
    """How far a command has come."""

    def __init__(self, advance: Callable[[int], None] = lambda _: None) -> None:
        self.advance = advance


@contextmanager
def show_progress(what: str, total: int) -> Iterator[Progress]:
    """A bar that ends at ``total``, where standard error is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich import progress as rich  # noqa: PLC0415 - 30 ms, for who sees it
    from rich.console import Console  # noqa: PLC0415 - as above

    name = rich.TextColumn("{task.description}", markup=False)
    columns = (name, rich.BarColumn(), rich.TaskProgressColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(what), total=total)
        yield Progress(lambda count: bar.advance(task, count))
