"""What somebody types leads to the page that is meant."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import quote

import pytest
from serve_kit import showing
from storage_kit import batch, resource_row, span_row

from otel_perfmon.storage.sqlite.writer import SqliteWriter

ONE, TWO, THREE = (bytes.fromhex(start) + bytes(13) for start in ("abc001", "abc002", "facade"))
ODD = "<script>&/?#\u202e\n日本"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shown") / "metrics.db")
    with closing(SqliteWriter(path)) as writer:
        rows = [
            span_row("GET /cart", trace_id=ONE),
            span_row("GET /cart/items", trace_id=TWO),
            span_row("facade", trace_id=THREE),
            span_row(ODD),
            span_row("Mail"),
            span_row("mail"),
            span_row("work", service="back", resource=resource_row("back")),
        ]
        writer.write(batch(*rows), timeout_seconds=1)
    with showing(path, "--no-token") as served:
        yield served


def found(served, given: str, more: str = "") -> str:
    answer = served.get(f"/find?q={quote(given)}{more}")
    assert answer.status == 303, answer.body
    return answer.headers["location"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("GET /cart", "/operation?operation=GET%20/cart&window=1h"),  # though another has it in its name
        ("  get /CART ", "/operation?operation=GET%20/cart&window=1h"),
        ("items", "/operation?operation=GET%20/cart/items&window=1h"),
        ("cart", "/?find=cart&window=1h"),
        ("Mail", "/operation?operation=Mail&window=1h"),
        ("MAIL", "/?find=MAIL&window=1h"),
        ("nowhere", "/?find=nowhere&window=1h"),
        ("", "/?window=1h"),
        ("日本", f"/operation?operation={quote(ODD)}&window=1h"),
    ],
)
def test_a_name_or_a_part_of_one_leads_to_the_operation_or_to_all_that_have_it(served, given, address):
    assert found(served, given) == address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (ONE.hex(), f"/trace/{ONE.hex()}"),
        (ONE.hex().upper(), f"/trace/{ONE.hex()}"),
        ("abc001", f"/trace/{ONE.hex()}"),
        ("ABC0010", f"/trace/{ONE.hex()}"),
        ("abc00", "/?find=abc00&window=1h"),  # too short
        ("abc0020", f"/trace/{TWO.hex()}"),
        ("f" * 32, f"/trace/{'f' * 32}"),  # which says that it is not there
        ("f" * 33, f"/?find={'f' * 33}&window=1h"),
        (f"00-{ONE.hex()}-00f067aa0ba902b7-01", f"/trace/{ONE.hex()}?span=00f067aa0ba902b7"),
        ("facade", "/operation?operation=facade&window=1h"),  # an operation is called so
        ("facade0", f"/trace/{THREE.hex()}"),
    ],
)
def test_an_id_or_its_beginning_leads_to_the_trace(served, given, address):
    assert found(served, given) == address


def test_time_and_service_are_carried_on_unless_the_operation_is_of_another(served):
    assert found(served, "facade", "&window=6h&service=shop") == "/operation?operation=facade&window=6h&service=shop"
    assert found(served, "cart", "&window=all&service=shop") == "/?find=cart&window=all&service=shop"
    assert found(served, "work", "&service=shop") == "/operation?operation=work&window=1h"
    assert found(served, ONE.hex(), "&window=6h") == f"/trace/{ONE.hex()}"


def test_nobody_is_sent_to_another_host(served):
    for given in ("//evil.example", "https://evil.example", "/\\evil.example", "\r\nLocation: //evil.example"):
        assert found(served, given).startswith("/?find=")


def test_the_header_of_every_page_holds_the_same_and_asks_about_the_same_time_and_service(served):
    for path in ("/", "/spans", "/running", "/store", "/sql", f"/trace/{ONE.hex()}"):
        page = served.get(f"{path}?window=6h&service=back").body.decode()
        form = page.partition('<form class="find"')[2].partition("</form>")[0]
        assert '<input type="hidden" name="window" value="6h">' in form, path
        assert '<input type="hidden" name="service" value="back">' in form, path
        header = page.partition("</header>")[0]
        assert header.count('id="live"') == header.count('<div class="seg') == 1, path  # so that nothing there moves
