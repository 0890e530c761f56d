"""`RunView`: records are read once, the run's own writes are seen at once, and no write of others is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ABSENT, Blob, ObjectChanged, ObjectNotFound, put_reconciled
from quant_assets.resources.run_view import RunView
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry, Manifest


@pytest.fixture
def others(tmp_path: Path) -> LocalObjectStore:
    """The store itself, as other processes have it."""
    return LocalObjectStore(tmp_path)


@pytest.fixture
def view(others: LocalObjectStore) -> RunView:
    return RunView(others, ["record/", "one.json"], ["record/", "cells/"])


def keys(view: RunView, prefix: str) -> list[str]:
    return [info.key for info in view.list(prefix)]


def test_a_record_is_read_once_until_the_view_forgets(view: RunView, others: LocalObjectStore) -> None:
    others.put("record/a", b"1")
    others.put("other/a", b"1")
    assert (view.get("record/a").data, view.get("other/a").data) == (b"1", b"1")
    info = others.put("record/a", b"2")
    others.put("other/a", b"2")
    assert (view.get("record/a").data, view.get("other/a").data) == (b"1", b"2")
    view.forget()
    assert view.get("record/a") == Blob(b"2", info)


def test_what_is_not_there_is_remembered_and_what_the_run_puts_is_there(
    view: RunView, others: LocalObjectStore
) -> None:
    for _ in range(2):
        with pytest.raises(ObjectNotFound, match=r"one\.json: no such object"):
            view.get("one.json")
        others.put("one.json", b"theirs")
    assert view.head("one.json") is None
    with pytest.raises(ObjectChanged):
        view.put("one.json", b"mine", if_version=ABSENT)
    # Refused, it looks again.
    assert view.get("one.json").data == b"theirs"
    info = view.put("one.json", b"mine")
    assert (view.get("one.json"), view.head("one.json")) == (Blob(b"mine", info), info)
    view.delete("one.json")
    with pytest.raises(ObjectNotFound):
        view.get("one.json")


def test_listings_and_groups_are_asked_once_and_hold_what_the_run_writes(
    view: RunView, others: LocalObjectStore
) -> None:
    others.put("cells/date=2013-01-02", b"")
    assert keys(view, "cells/") == ["cells/date=2013-01-02"]
    assert view.groups("cells/date=", "-") == ["cells/date=2013-"]
    others.put("cells/date=2012-01-02", b"")
    # Theirs is not seen, nor in a narrower listing; one's own is.
    assert keys(view, "cells/date=2012") == []
    assert view.groups("cells/date=", "-") == ["cells/date=2013-"]
    view.put("cells/date=2014-01-02", b"")
    assert keys(view, "cells/") == ["cells/date=2013-01-02", "cells/date=2014-01-02"]
    assert view.groups("cells/date=", "-")[-1] == "cells/date=2014-"
    view.delete("cells/date=2014-01-02")
    assert keys(view, "cells/date=2014") == []
    view.forget()
    assert keys(view, "cells/") == ["cells/date=2012-01-02", "cells/date=2013-01-02"]
    # What is not kept is asked each time.
    assert keys(view, "other/") == []
    others.put("other/a", b"")
    assert keys(view, "other/") == ["other/a"]


def test_what_the_run_put_is_forgotten_as_well(view: RunView, others: LocalObjectStore) -> None:
    view.put("cells/date=2013-01-02", b"")
    others.delete("cells/date=2013-01-02")
    view.forget()
    assert keys(view, "cells/") == []


def test_a_write_by_an_outdated_object_is_decided_again_with_what_others_left(
    view: RunView, others: LocalObjectStore
) -> None:
    others.put("record/a", b"1")
    view.get("record/a")
    others.put("record/a", b"12")
    put_reconciled(view, "record/a", lambda present: (present.data if present else b"") + b"3")
    assert others.get("record/a").data == view.get("record/a").data == b"123"


def test_two_runs_with_views_of_one_manifest_lose_no_entry(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    views = [RunView(store, ["manifest/"], ["manifest/"]) for _ in range(2)]
    for view in views:
        assert Manifest(view, DAILY).year("US", 2013) == {}
    for number, view in enumerate(views):
        Manifest(view, DAILY).record("US", [Entry(f"2013-01-0{number + 2}", CellState.CLOSED)])
    assert list(Manifest(store, DAILY).year("US", 2013)) == ["2013-01-02", "2013-01-03"]
    # The second to write has seen the first one's entry.
    assert list(Manifest(views[1], DAILY).year("US", 2013)) == ["2013-01-02", "2013-01-03"]
