"""Asks the API whatever its OpenAPI document allows and much that it does not, and holds each answer against it."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as of_openapi

CHECKS = [
    not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_headers_conformance,
    of_openapi.response_schema_conformance,
    of_openapi.negative_data_rejection,
]
"""Not `positive_data_acceptance`: what a schema allows may still name a symbol that there is not, or two days the
wrong way round."""

REAL: dict[str, list[Any]] = {
    "symbols": ["AAPL", "aapl,ibm", "BHP.AX CBA.AX", "APPL", ""],
    "universe": ["desk", "configured"],
    "exchange": ["US", "ASX", "LSE"],
    "code": ["US", "ASX", "LSE"],
    "name": ["desk", "configured"],
    "columns": ["symbol,date,close", "symbol", "exchange"],
    "start": ["2012-01-03", "2012-03-01", "0001-01-01"],
    "end": ["2012-03-30", "2012-02-01", "9999-12-31"],
    "on": ["2012-02-01", "2012-04-01"],
    "as_of": ["2012-04-01", "2012-04-01T13:00:00Z", "2011-01-01"],
    "q": ["a", "limited"],
}
"""What there is, in the store of `desk`: made-up names alone would only ever be told that there are none."""

DAMP = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


_PATIENCE = 120
"""Seconds for one answer, on a machine that does other things as well."""
_REFUSED = (401, 404, 405, 413, 414, 422)
"""Without a key. 413, 414 and 422: too long, or a parameter said twice, which is looked at first."""


@dataclass(slots=True)
class Fuzzed:
    """What came of it."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: list[str] = field(default_factory=list[str])
    """Each answer that is not as the document says, with its request."""
    opened: list[str] = field(default_factory=list[str])
    """Each request that changes something and was let through."""

    def __iadd__(self, other: Fuzzed) -> Self:
        self.cases += other.cases
        self.statuses += other.statuses
        self.failures += other.failures
        self.opened += other.opened
        return self


def fuzz(app: Any, examples: int, *, key: str | None = None, number: int = 0) -> Fuzzed:
    """Sends about `examples` cases to each operation in each way of making them: as the document has it, and not.

    Args:
        key: sent with every request; None: none.
        number: the seed.
    """
    found = Fuzzed()
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    for operation in document.get_all_operations():
        one = operation.ok()
        assert one is not None
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _fuzz_one(one, mode, examples, headers, number, found)
    return found


def _fuzz_one(
    operation: Any, mode: GenerationMode, examples: int, headers: dict[str, str], number: int, found: Fuzzed
) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=DAMP,
        phases=[Phase.generate],
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if mode is GenerationMode.POSITIVE and data.draw(st.booleans()):
            _with_real(case, data)
        if headers or data.draw(st.integers(0, 3)):
            # Made-up keys are refused before anything else is looked at.
            for name in ("Authorization", "X-API-Key"):
                case.headers.pop(name, None)
        _ask(case, headers, found)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ask()
        except Exception as error:
            if type(error).__name__ not in ("Unsatisfiable", "InvalidArgument", "SkipTest"):
                raise


def _with_real(case: Any, data: st.DataObject) -> None:
    """Some parameters of a case become what there is."""
    for part in (case.query, case.path_parameters):
        for name in list(part or ()):
            if name in REAL and data.draw(st.integers(0, 3)):
                part[name] = data.draw(st.sampled_from(REAL[name]))
    body = case.body
    if isinstance(body, dict) and "symbols" in body and data.draw(st.booleans()):
        body["symbols"] = ["AAPL", "ibm"]


def _ask(case: Any, headers: dict[str, str], found: Fuzzed) -> None:
    response = case.call(headers=headers, timeout=_PATIENCE)
    found.cases += 1
    found.statuses[response.status_code] += 1
    told = f"{case.method} {response.request.url}"
    changing = case.method not in ("GET", "HEAD") and not case.path.endswith("/query")
    if changing and not headers and response.status_code not in _REFUSED:
        found.opened.append(f"{told}: {response.status_code}")
    # What is too long is refused, whatever else is wrong with it; a list or object of one is written like the one.
    single = any(isinstance(value, (list, dict)) and len(value) < 2 for value in (case.query or {}).values())
    checks = CHECKS[:-1] if response.status_code in (413, 414) or single else CHECKS
    try:
        case.validate_response(response, checks=checks)
    except BaseExceptionGroup as error:
        text = " ".join(str(error.exceptions[0]).split())
        found.failures.append(f"{told[:300]}: {response.status_code}: {text[:500]}")
