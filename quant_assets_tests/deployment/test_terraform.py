"""What the Terraform files take from the product is as the product has it, and what they grant is written down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.deploy_files import EXCHANGES, exchanges
from quant_assets.resources.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
FILES = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "deploy" / "terraform").glob("*.tf")}
ALL = "\n".join(FILES.values())


def test_jobs_start_when_the_bar_is_final_in_the_zone_of_the_exchange() -> None:
    assert EXCHANGES.read_text(encoding="utf-8") == exchanges() + "\n", "python -m benchmarks.deploy_files"
    assert '"schedule": "30 16 * * 1-5",\n    "time_zone": "Australia/Sydney"' in exchanges(), (
        "close + 30 min"
    )


def test_every_role_is_listed_with_the_call_that_needs_it() -> None:
    granted = set(re.findall(r'role\s*=\s*"(roles/[\w.]+)"', ALL))
    assert len(granted) >= 7
    rows = [
        line
        for line in (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").splitlines()
        if "`roles/" in line
    ]
    assert granted == {role for row in rows for role in re.findall(r"`(roles/[\w.]+)`", row)}
    assert all(row.count("|") == 4 and row.split("|")[3].strip() for row in rows)


def test_no_identity_has_a_key_and_none_has_a_right_over_the_whole_project() -> None:
    assert "google_service_account_key" not in ALL
    assert not re.search(r'resource "google_project_iam_(member|binding|policy)"', ALL)
    assert not re.search(r"roles/(owner|editor|viewer)\b|\.admin\b|Admin\"", ALL)
    assert not re.search(r'member\w*\s*=\s*"?\[?"(allUsers|allAuthenticatedUsers)', ALL)


def test_every_setting_is_one_that_the_product_knows() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = set(re.findall(r"\bQUANT_ASSETS_[A-Z_]+\b", FILES["jobs.tf"] + FILES["api.tf"]))
    assert named
    assert named <= known


@pytest.mark.parametrize("variable", re.findall(r'^variable "(\w+)"', FILES["variables.tf"], re.MULTILINE))
def test_every_variable_is_used_and_described(variable: str) -> None:
    body = FILES["variables.tf"].split(f'variable "{variable}" {{')[1].split("\n}")[0]
    assert "description = " in body
    others = "".join(text for name, text in FILES.items() if name != "variables.tf")
    assert f"var.{variable}" in others


def test_the_example_names_variables_that_there_are() -> None:
    example = (ROOT / "deploy" / "terraform" / "example.tfvars").read_text(encoding="utf-8")
    named = set(re.findall(r"^(\w+)\s*=", example, re.MULTILINE))
    assert named <= set(re.findall(r'^variable "(\w+)"', FILES["variables.tf"], re.MULTILINE))
    required = {
        name
        for name, body in re.findall(
            r'^variable "(\w+)" \{(.*?)^\}', FILES["variables.tf"], re.MULTILINE | re.DOTALL
        )
        if "default" not in body
    }
    assert required <= named
