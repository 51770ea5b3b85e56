"""Settings: where a value comes from, and what a wrong one costs."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from pathlib import Path

import pytest

from otel_perfmon import ConfigError, MetricsStorage, PerformanceMonitor, configure
from otel_perfmon.config import (
    PREFIX,
    SETTINGS,
    Config,
    nano_of_ms,
    parse_setting,
    resolve_config,
    resolve_config_leniently,
    resolve_setting,
)

pytestmark = pytest.mark.usefixtures("fresh_process")

PREFIXED = {
    "path": "OTEL_PYTHON_PERFMON_PATH",
    "slow_threshold_ms": "OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS",
    "retention_seconds": "OTEL_PYTHON_PERFMON_RETENTION_SECONDS",
    "keep_seconds": "OTEL_PYTHON_PERFMON_KEEP_SECONDS",
    "size_max_bytes": "OTEL_PYTHON_PERFMON_SIZE_MAX_BYTES",
    "error_rate_threshold": "OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD",
    "error_rate_min_count": "OTEL_PYTHON_PERFMON_ERROR_RATE_MIN_COUNT",
    "durability": "OTEL_PYTHON_PERFMON_DURABILITY",
    "sample_rate": "OTEL_PYTHON_PERFMON_SAMPLE_RATE",
    "sample_rates": "OTEL_PYTHON_PERFMON_SAMPLE_RATES",
    "slow_stacks": "OTEL_PYTHON_PERFMON_SLOW_STACKS",
    "redact": "OTEL_PYTHON_PERFMON_REDACT",
    "redact_keys": "OTEL_PYTHON_PERFMON_REDACT_KEYS",
    "redact_patterns": "OTEL_PYTHON_PERFMON_REDACT_PATTERNS",
    "forward_to": "OTEL_PYTHON_PERFMON_FORWARD_TO",
    "forward_sample_rate": "OTEL_PYTHON_PERFMON_FORWARD_SAMPLE_RATE",
    "forward_decision_wait_seconds": "OTEL_PYTHON_PERFMON_FORWARD_DECISION_WAIT_SECONDS",
}
PLAIN = {
    "slow_threshold_ms": "SLOW_REQUEST_THRESHOLD_MS",
    "retention_seconds": "SAMPLING_WINDOW_SECONDS",
    "error_rate_threshold": "ERROR_RATE_THRESHOLD",
}
DEFAULTS = {
    "slow_threshold_ms": 1000.0,
    "retention_seconds": 3600.0,
    "keep_seconds": 604_800.0,
    "size_max_bytes": 536_870_912,
    "error_rate_threshold": 0.1,
    "error_rate_min_count": 20,
    "durability": "batch",
    "sample_rate": 1.0,
    "sample_rates": {},
    "slow_stacks": True,
    "redact": True,
    "redact_keys": (),
    "redact_patterns": (),
    "forward_to": (),
    "forward_sample_rate": 1.0,
    "forward_decision_wait_seconds": 30.0,
}
#: For each setting three good values as text, none of them the default, and what they mean.
GOOD = {
    "path": (("/a/x.db", "/a/x.db"), ("/a/y.db", "/a/y.db"), ("/a/z.db", "/a/z.db")),
    "slow_threshold_ms": (("0", 0.0), ("12.5", 12.5), ("1e6", 1e6)),
    "retention_seconds": (("1", 1.0), ("0.5", 0.5), ("86400", 86400.0)),
    "keep_seconds": (("1", 1.0), ("0.5", 0.5), ("86400", 86400.0)),
    "size_max_bytes": (("67108864", 67_108_864), ("256 MB", 268_435_456), ("2GiB", 2_147_483_648)),
    "error_rate_threshold": (("0", 0.0), ("1", 1.0), ("0.25", 0.25)),
    "error_rate_min_count": (("1", 1), ("100", 100), ("5.0", 5)),
    "durability": (("root", "root"), ("span", "span"), ("root", "root")),
    "sample_rate": (("0", 0.0), ("0.25", 0.25), ("1e-3", 0.001)),
    "sample_rates": (
        ("GET /health=0,checkout=1", {"GET /health": 0.0, "checkout": 1.0}),
        (" a = 0.5 ,, b=1e-3, ", {"a": 0.5, "b": 0.001}),
        ("x=y=0.25", {"x=y": 0.25}),
    ),
    "slow_stacks": (("false", False), ("FALSE", False), (" False ", False)),
    "redact": (("false", False), (" FALSE ", False), ("False", False)),
    "redact_keys": (("badge", ("badge",)), (" tax id ,, iban ", ("tax id", "iban")), ("a.b", ("a.b",))),
    "redact_patterns": (
        ("corp-[0-9]{6}", ("corp-[0-9]{6}",)),
        ("a,b\n\n  c{2} \n", ("a,b", "c{2}")),
        ("(?i)x(?P<secret>[a-z]{1,40})", ("(?i)x(?P<secret>[a-z]{1,40})",)),
    ),
    "forward_to": (
        ("http://collector:4318", ("http://collector:4318",)),
        (" env , grpcs://a@[::1]:4317 ,", ("env", "grpcs://a@[::1]:4317")),
        ("https://x/otlp?key=5", ("https://x/otlp?key=5",)),
    ),
    "forward_sample_rate": (("0", 0.0), ("0.25", 0.25), ("1e-3", 0.001)),
    "forward_decision_wait_seconds": (("0", 0.0), ("0.5", 0.5), ("90", 90.0)),
}
BAD = {
    "path": ["", ":memory:", "file:metrics.db", "a\0b", 5, 1.5, [], object()],
    "slow_threshold_ms": [-1, "-0.1", "soon", "nan", math.nan, math.inf, "inf", True, [], {}, b"1", 1j, 10**400, "1,5"],
    "retention_seconds": [0, "0", -1, "never", math.nan, math.inf, False, [], 10**400, "-1e-9"],
    "keep_seconds": [0, "0", -1, "never", math.nan, math.inf, False, [], 10**400, "-1e-9"],
    "size_max_bytes": [0, 67_108_863, "512", "65535kB", "1e9", "-1GB", "1TB", "9" * 19, 2e6 + 0.5, math.inf, True, []],
    "error_rate_threshold": [-0.1, 1.1, "2", "10%", math.nan, True, [], 10**400],
    "error_rate_min_count": [0, "0", -1, 1.5, "1.5", "many", math.nan, math.inf, True, [], 10**400],
    "durability": ["always", "BATCH", " batch", 5, True, [], b"batch"],
    "sample_rate": [-0.1, 1.1, "2", "10%", "all", math.nan, math.inf, True, [], {}, 10**400],
    "sample_rates": [
        *("GET /health", "=0.5", "a=", "a=2", "a=0.5,b", "a=-1", "a=nan", "0.5", 0.5, True, ["a=0"], b"a=0"),
        *({"a": 2}, {"a": "many"}, {"a": None}, {"": 0.5}, {5: 0.5}),
    ],
    "slow_stacks": ["yes", "0", "off", "truee", 0, 1, 1.0, [], {}, b"true"],
    "redact": ["yes", "1", 1, 0, "on", [], b"true"],
    "redact_keys": ["--", "badge,--", [5], ["badge", ""], 5, [b"badge"], object()],
    "forward_to": [
        "collector:4318",
        "ftp://x",
        "http://",
        "http://a b",
        "ENV",
        "env;env",
        [5],
        ["http://x", 5],
        5,
        b"env",
    ],
    "forward_sample_rate": [-0.1, 1.1, "2", "10%", "all", math.nan, math.inf, True, [], {}, 10**400],
    "forward_decision_wait_seconds": [-1, "soon", "nan", math.nan, math.inf, True, [], 10**400],
    "redact_patterns": ["(", "a**", "(a+)+$", "(a|a)*b", ".*.*x", r"(a)\1", "x*", ["a", 5], 5, [b"a"]],
}
RANGES = {
    "path": "path of a file",
    "slow_threshold_ms": "0 or more",
    "retention_seconds": "above 0",
    "keep_seconds": "above 0",
    "size_max_bytes": "64MB or more",
    "error_rate_threshold": "between 0 and 1",
    "error_rate_min_count": "1 or more",
    "durability": "batch, root, span",
    "sample_rate": "between 0 and 1",
    "sample_rates": "between 0 and 1 by operation",
    "slow_stacks": "true or false",
    "redact": "true or false",
    "redact_keys": "names with letters or digits",
    "redact_patterns": "regular expressions",
    "forward_to": "URLs such as http://collector:4318",
    "forward_sample_rate": "between 0 and 1",
    "forward_decision_wait_seconds": "0 or more",
}
EACH = pytest.mark.parametrize("field", list(PREFIXED))
EACH_PLAIN = pytest.mark.parametrize("field", list(PLAIN))
BAD_ARGUMENTS = [(field, value) for field, values in BAD.items() for value in values]
BAD_TEXTS = [(field, value) for field, value in BAD_ARGUMENTS if isinstance(value, str) and value]


def settled(field: str, argument: object = None, **environ: str) -> object:
    return getattr(resolve_config({field: argument}, environ), field)


def test_the_settings_are_those_this_test_knows():
    fields = [field.name for field in dataclasses.fields(Config)]
    assert fields == [setting.field for setting in SETTINGS] == list(PREFIXED)
    assert {setting.field: setting.prefixed_variable for setting in SETTINGS} == PREFIXED
    assert {setting.field: setting.plain_variable for setting in SETTINGS if setting.plain_variable} == PLAIN
    assert {setting.field: setting.default for setting in SETTINGS if setting.field != "path"} == DEFAULTS
    assert PREFIX == "OTEL_PYTHON_PERFMON_"


def test_without_anything_given_the_defaults_hold(tmp_path):
    config = resolve_config({}, {})
    assert {field: getattr(config, field) for field in DEFAULTS} == DEFAULTS
    assert config.path == str(tmp_path / "metrics.db")
    assert resolve_config_leniently({}, {}) == config


@EACH
def test_an_argument_wins_over_the_prefixed_variable_that_over_the_plain_one_that_over_the_default(field):
    (text, value), (prefixed_text, prefixed_value), (plain_text, plain_value) = GOOD[field]
    plain = {PLAIN[field]: plain_text} if field in PLAIN else {}
    prefixed = {PREFIXED[field]: prefixed_text}
    assert settled(field, text, **prefixed, **plain) == value
    assert settled(field, None, **prefixed, **plain) == prefixed_value
    if plain:
        assert settled(field, None, **plain) == plain_value


@EACH
def test_one_setting_is_settled_like_all_and_does_not_mind_the_others(field):
    (text, value), (prefixed_text, prefixed_value), _ = GOOD[field]
    others = {variable: "nonsense" for other, variable in PREFIXED.items() if other != field}
    environ = {PREFIXED[field]: prefixed_text, **others}
    assert resolve_setting(field, text, environ) == value
    assert resolve_setting(field, None, environ) == prefixed_value
    with pytest.raises(ConfigError, match=field):
        resolve_setting(field, object(), environ)


@EACH
@pytest.mark.parametrize("resolve", [resolve_config, resolve_config_leniently])
def test_an_empty_variable_is_an_unset_one(field, resolve, caplog):
    empty = {PREFIXED[field]: "", **({PLAIN[field]: ""} if field in PLAIN else {})}
    assert getattr(resolve({}, empty), field) == getattr(resolve({}, {}), field)
    if field in PLAIN:
        (text, value) = GOOD[field][0]
        assert getattr(resolve({}, {PREFIXED[field]: "", PLAIN[field]: text}), field) == value
    assert caplog.records == []


@EACH
def test_the_real_environment_counts_when_none_is_given(field, monkeypatch):
    text, value = GOOD[field][0]
    monkeypatch.setenv(PREFIXED[field], text)
    assert getattr(resolve_config({}), field) == value
    assert getattr(resolve_config_leniently({}), field) == value


@pytest.mark.parametrize(("field", "value"), BAD_ARGUMENTS, ids=lambda value: type(value).__name__)
def test_a_wrong_argument_is_an_error_that_names_setting_value_source_and_range(field, value):
    with pytest.raises(ConfigError) as raised:
        resolve_config({field: value}, {})
    message = str(raised.value)
    assert message.startswith(f"{field} must be ")
    assert RANGES[field] in message
    assert f"argument {field}" in message
    assert repr(value)[:100] in message
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(("field", "value"), BAD_TEXTS)
def test_a_wrong_prefixed_variable_is_an_error_that_names_setting_value_source_and_range(field, value):
    with pytest.raises(ConfigError) as raised:
        resolve_config({}, {PREFIXED[field]: value})
    message = str(raised.value)
    assert message.startswith(f"{field} must be ")
    for part in (RANGES[field], PREFIXED[field], repr(value)):
        assert part in message


@pytest.mark.parametrize(("field", "value"), [each for each in BAD_TEXTS if each[0] in PLAIN])
def test_a_wrong_plain_variable_is_one_warning_that_names_it_and_the_default(field, value, caplog):
    with caplog.at_level(logging.WARNING, "otel_perfmon"):
        assert settled(field, None, **{PLAIN[field]: value}) == DEFAULTS[field]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("otel_perfmon", logging.WARNING)
    for part in (PLAIN[field], repr(value), RANGES[field]):
        assert part in record.getMessage()


@EACH_PLAIN
def test_a_wrong_plain_variable_is_not_even_looked_at_when_a_better_source_is_there(field, caplog):
    text, value = GOOD[field][0]
    assert settled(field, text, **{PLAIN[field]: "nonsense"}) == value
    assert settled(field, None, **{PREFIXED[field]: text, PLAIN[field]: "nonsense"}) == value
    assert caplog.records == []


def test_a_wrong_prefixed_variable_does_not_matter_beside_an_argument():
    assert settled("slow_threshold_ms", 5, OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS="soon") == 5.0


def test_an_argument_of_0_is_given_and_not_absent():
    assert settled("slow_threshold_ms", 0, OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS="7") == 0.0
    assert settled("error_rate_threshold", 0.0, ERROR_RATE_THRESHOLD="0.7") == 0.0


def test_a_number_too_long_to_print_is_a_wrong_setting_like_any_other():
    with pytest.raises(ConfigError, match="slow_threshold_ms"):
        resolve_config({"slow_threshold_ms": 10**5000}, {})
    assert resolve_config_leniently({"slow_threshold_ms": 10**5000}, {}).slow_threshold_ms == 1000.0


def test_a_value_that_cannot_even_be_shown_is_a_wrong_setting_like_any_other():
    class Evil:
        def __repr__(self) -> str:
            raise RuntimeError

        __fspath__ = __repr__

    for field in PREFIXED:
        with pytest.raises(ConfigError, match=field):
            resolve_config({field: Evil()}, {})
        assert resolve_config_leniently({field: Evil()}, {}) == resolve_config({}, {})


# --- leniency


@pytest.mark.parametrize(("field", "value"), BAD_ARGUMENTS, ids=lambda value: type(value).__name__)
def test_leniently_a_wrong_argument_is_one_warning_and_the_next_source_is_asked(field, value, caplog):
    text, expected = GOOD[field][0]
    config = resolve_config_leniently({field: value}, {PREFIXED[field]: text})
    assert getattr(config, field) == expected
    (record,) = caplog.records
    assert f"argument {field}" in record.getMessage()


@EACH
def test_leniently_every_source_may_be_wrong(field, caplog):
    plain = {PLAIN[field]: "nonsense"} if field in PLAIN else {}
    bad = next(value for value in BAD[field] if isinstance(value, str) and value)
    config = resolve_config_leniently({field: bad}, {PREFIXED[field]: bad, **plain})
    assert config == resolve_config({}, {})
    assert len(caplog.records) == 2 + len(plain)


@pytest.mark.parametrize("resolve", [resolve_config, resolve_config_leniently])
def test_unknown_variables_with_our_prefix_and_unknown_arguments_do_no_harm(resolve):
    assert resolve({"nothing": 5}, {"OTEL_PYTHON_PERFMON_NOTHING": "5"}) == resolve({}, {})


def test_leniently_a_working_directory_that_is_gone_raises_nothing(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert resolve_config_leniently({}, {}).path.endswith("metrics.db")
    with pytest.raises(ConfigError, match="path"):
        resolve_config({}, {})


# --- values


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5.0), (5.5, 5.5), ("5", 5.0), (" 5 ", 5.0), ("5e2", 500.0), (0, 0.0), (-0.0, 0.0)]
)
def test_a_number_may_be_an_integer_a_float_or_their_text(value, number):
    found = parse_setting("slow_threshold_ms", value)
    assert (found, type(found)) == (number, float)


def test_a_path_is_made_absolute_when_it_is_given(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    config = resolve_config({"path": "x/../metrics.db"}, {})
    monkeypatch.chdir(tmp_path / "sub")
    assert config.path == str(tmp_path / "metrics.db")
    assert resolve_config({"path": "metrics.db"}, {}).path == str(tmp_path / "sub" / "metrics.db")


@pytest.mark.parametrize("path", [Path("a.db"), "a.db", b"a.db"], ids=repr)
def test_a_path_may_be_text_bytes_or_a_path_object(path, tmp_path):
    assert parse_setting("path", path) == str(tmp_path / "a.db")


@pytest.mark.parametrize("path", ["memory:", "metrics.db?mode=ro", "profile:x", " ", "é😀.db", "~"])
def test_an_odd_but_possible_file_name_is_taken_as_it_is(path, tmp_path):
    assert parse_setting("path", path) == os.path.join(tmp_path, path)


def test_shares_by_operation_may_be_a_mapping_with_numbers_or_their_text():
    assert parse_setting("sample_rates", {"a": 0, "b": "0.5", "c": 1}) == {"a": 0.0, "b": 0.5, "c": 1.0}


def test_a_mapping_that_is_changed_after_it_was_given_changes_no_setting():
    rates = {"a": 0.5}
    config = resolve_config({"sample_rates": rates}, {})
    rates["a"] = rates["b"] = 2
    assert config.sample_rates == {"a": 0.5}


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve_config({}, {}).path = "other"


@pytest.mark.parametrize(
    ("milliseconds", "nano"),
    [(0, 0), (1, 10**6), (0.1, 10**5), (1e-6, 1), (1e-7, 0), (0.29, 290_000), (1e300, 2**63 - 1), (1e305, 2**63 - 1)],
)
def test_milliseconds_become_the_nearest_whole_nanoseconds_that_fit(milliseconds, nano):
    assert nano_of_ms(milliseconds) == nano


# --- where settings are used


def test_a_wrong_setting_is_raised_when_the_program_starts_and_leaves_nothing_behind(tmp_path, monkeypatch):
    for make in (
        lambda: configure(durability="always"),
        lambda: configure(slow_threshold_ms=-1),
        lambda: configure(on_alert="not callable"),
        lambda: MetricsStorage(retention_seconds=0),
        lambda: MetricsStorage(keep_seconds=-1),
        lambda: MetricsStorage(size_max_bytes="small"),
        lambda: MetricsStorage(sample_rate=1.5),
        lambda: configure(sample_rates="GET /health"),
        lambda: PerformanceMonitor(slow_threshold_ms="soon"),
    ):
        with pytest.raises(ConfigError):
            make()
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_RETENTION_SECONDS", "never")
    for make in (configure, MetricsStorage, PerformanceMonitor):
        with pytest.raises(ConfigError, match="OTEL_PYTHON_PERFMON_RETENTION_SECONDS"):
            make()
    assert os.listdir(tmp_path) == []


def test_a_plain_name_of_the_host_program_never_stops_it(tmp_path, monkeypatch, caplog):
    for name in PLAIN.values():
        monkeypatch.setenv(name, "the host's own meaning")
    with MetricsStorage() as storage:
        assert storage.retention_seconds == 3600.0
    for name in PLAIN.values():
        assert len([record for record in caplog.records if name in record.getMessage()]) == 1
