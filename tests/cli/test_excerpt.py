from __future__ import annotations

from otel_perfmon import SpanRecord
from otel_perfmon.cli.excerpt import Row, choose_rows
from otel_perfmon.records import ResourceRecord, ScopeRecord
from otel_perfmon.trace import Trace, TraceTree


def _span(
    name: str, parent: str | None, start: int, end: int, *, error: bool = False, slow: bool = False
) -> SpanRecord:
    return SpanRecord(
        "a" * 32, name, parent, name, 1, start, end, 2 if error else 0, "", "", 1, {}, (), (), 0, 0, 0,
        ResourceRecord(), ScopeRecord("lib"), error, slow, None,
    )  # fmt: skip


def _tree(*spans: SpanRecord) -> TraceTree:
    return Trace("a" * 32, spans).tree()


def _lines(tree: TraceTree, rows: list[Row]) -> list[str]:
    return [
        ". " * row.level
        + (f"{row.hidden_count} more" if row.node_index is None else tree.nodes[row.node_index].span.name)
        for row in rows
    ]


def _chosen(tree: TraceTree, spans_max: int, focus: int | None = None) -> list[str]:
    return _lines(tree, choose_rows(tree, spans_max, focus=focus))


def _batch(children: int, **marks: dict) -> TraceTree:
    """A root with children that ran one after the other, each a little longer, and were not waited for."""
    spans = [_span(f"{n}", "root", n, n + 1 + n, **marks.get(f"n{n}", {})) for n in range(children)]
    return _tree(_span("root", None, 0, 1000), _span("wait", "root", 0, 1000), *spans)


def test_a_tree_that_fits_is_shown_whole_in_its_order() -> None:
    tree = _tree(_span("root", None, 0, 9), _span("a", "root", 1, 5), _span("b", "a", 2, 3), _span("c", "root", 6, 7))
    assert _chosen(tree, 4) == _chosen(tree, 0) == ["root", ". a", ". . b", ". c"]


def test_no_limit_shows_everything() -> None:
    assert len(choose_rows(_batch(500), 0)) == 502


def test_what_is_left_out_is_counted_below_the_span_it_belongs_to() -> None:
    tree = _tree(
        _span("root", None, 0, 100),
        _span("a", "root", 0, 50, slow=True),
        _span("a1", "a", 0, 2),
        _span("a2", "a1", 0, 1),
        _span("b", "root", 50, 90, slow=True),
        _span("c", "root", 95, 96),
        _span("other", None, 200, 201),
    )
    assert _chosen(tree, 3) == ["root", ". a", ". . 2 more", ". b", ". 1 more", "1 more"]
    hidden = next(row for row in choose_rows(tree, 3) if row.node_index is None)
    assert (hidden.start_unix_nano, hidden.end_unix_nano, hidden.hidden_error_count) == (0, 2, 0)


def test_errors_come_before_slow_spans_these_before_the_critical_path_and_that_before_the_longest() -> None:
    tree = _batch(20, n3={"error": True}, n4={"slow": True})
    assert _chosen(tree, 2) == ["root", ". 3", ". 20 more"]
    assert _chosen(tree, 3) == ["root", ". 3", ". 4", ". 19 more"]
    assert _chosen(tree, 4) == ["root", ". wait", ". 3", ". 4", ". 18 more"]
    assert _chosen(tree, 5) == ["root", ". wait", ". 3", ". 4", ". 19", ". 17 more"]


def test_an_error_is_shown_where_it_began_rather_than_where_it_went_through() -> None:
    chain = [_span(f"{n}", f"{n - 1}" if n else None, n, 100 - n, error=True) for n in range(20)]
    tree = _tree(*chain)
    assert _chosen(tree, 4) == ["0", ". 1", ". . 2", ". . . 19", ". . . 16 more"]
    assert choose_rows(tree, 4)[-1].hidden_error_count == 16
    assert [row.depth for row in choose_rows(tree, 4)[:4]] == [0, 1, 2, 19]


def test_no_span_is_shown_without_its_ancestors_but_errors_and_what_took_most_of_the_critical_path() -> None:
    chain = [_span(f"{n}", f"{n - 1}" if n else None, n, 100 - n) for n in range(20)]
    assert _chosen(_tree(*chain), 4) == ["0", ". 1", ". . 2", ". . . 19", ". . . 16 more"]


def test_the_span_that_was_asked_for_is_shown_before_all_others() -> None:
    tree = _batch(20, n3={"error": True})
    focus = next(index for index, node in enumerate(tree.nodes) if node.span.name == "0")
    assert _chosen(tree, 2, focus) == ["root", ". 0", ". 20 more"]
    assert _chosen(tree, 1, focus) == ["0", "21 more"]


def test_every_span_is_shown_or_counted_once_whatever_the_limit() -> None:
    tree = _tree(
        *(_span(f"{n}", f"{(n - 1) // 3}" if n % 7 else None, n, 300 - n, error=n % 11 == 5) for n in range(100))
    )
    for spans_max in range(1, 101):
        rows = choose_rows(tree, spans_max)
        shown = [row.node_index for row in rows if row.node_index is not None]
        assert len(shown) <= spans_max
        assert shown == sorted(set(shown))
        assert len(shown) + sum(row.hidden_count for row in rows) == 100
        errors = sum(tree.nodes[index].span.is_error for index in shown)
        assert errors + sum(row.hidden_error_count for row in rows) == tree.error_count


def test_a_hundred_of_ten_thousand_levels_are_chosen() -> None:
    tree = _tree(*(_span(f"{n}", f"{n - 1}" if n else None, n, 20_000 - n) for n in range(10_000)))
    rows = choose_rows(tree, 100)
    assert [row.level for row in rows] == list(range(101))
    assert rows[-1].hidden_count == 9_900
