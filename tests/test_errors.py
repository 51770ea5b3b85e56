"""One tree of errors, whose branches say what can be done about them."""

from __future__ import annotations

import copy
import pickle

import pytest

import otel_perfmon
from otel_perfmon import errors

TREE = {
    "PerfmonError": (Exception,),
    "ConfigError": (errors.PerfmonError, ValueError),
    "QueryError": (errors.PerfmonError, ValueError),
    "NotFoundError": (errors.PerfmonError, LookupError),
    "StoreError": (errors.PerfmonError,),
    "StoreClosedError": (errors.StoreError,),
    "StoreBusyError": (errors.StoreError,),
    "StoreTimeoutError": (errors.StoreError,),
    "StoreFullError": (errors.StoreError,),
    "StoreCorruptError": (errors.StoreError,),
    "SchemaError": (errors.StoreError,),
    "OtlpError": (errors.PerfmonError,),
    "DecodeError": (errors.OtlpError,),
    "ForwardError": (errors.OtlpError,),
}


def test_the_tree_is_the_one_that_the_module_draws():
    assert {name: kind.__bases__ for name, kind in vars(errors).items() if isinstance(kind, type)} == TREE
    for name in TREE:
        assert name in errors.__doc__ or name == "PerfmonError"


def test_every_error_can_be_imported_from_the_package():
    for name in TREE:
        assert getattr(otel_perfmon, name) is getattr(errors, name)
        assert name in otel_perfmon.__all__


@pytest.mark.parametrize("name", list(TREE))
def test_an_error_keeps_its_message_when_it_is_copied_or_crosses_processes(name):
    error = getattr(errors, name)("what went wrong")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == "what went wrong"


def test_a_forward_error_says_whether_and_when_to_try_again_also_after_it_crossed_processes():
    plain = errors.ForwardError("no")
    assert (plain.retryable, plain.retry_after_ms) == (False, None)
    error = errors.ForwardError("later", retryable=True, retry_after_ms=1500.0)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.retryable, twin.retry_after_ms) == ("later", True, 1500.0)
