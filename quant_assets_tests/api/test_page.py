"""The page's files, as a browser gets them. What they do is tested in e2e/test_page.py."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings

FOLDER = Path(__file__).parents[2] / "quant_assets" / "api" / "page"


def test_all_that_the_page_names_is_shipped(client: TestClient) -> None:
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    wanted = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))
    for script in sorted(FOLDER.glob("*.js")):
        wanted |= {f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text("utf-8"))}
    assert {"/static/style.css", "/static/app.js", "/static/vendor/lightweight-charts.mjs"} <= wanted
    for path in sorted(wanted):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff"), path
        assert client.head(path).headers["content-length"] == answer.headers["content-length"]


def test_the_description_of_the_api_is_shipped_and_guarded_like_the_page(client: TestClient) -> None:
    described = client.get("/docs")
    assert described.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    named = re.findall(r'(?:href|src)="(/[^"]+)"', described.text)
    assert "/static/swagger/swagger-ui-bundle.js" in named
    assert {client.get(path).status_code for path in named} == {200}
    told = (FOLDER / "swagger" / "README.md").read_text("utf-8")
    bundle = (FOLDER / "swagger" / "swagger-ui-bundle.js").read_bytes()
    assert f"`{hashlib.sha256(bundle).hexdigest()}`" in told
    assert client.get("/redoc").status_code == 404


def test_nothing_of_another_server_and_nothing_inline_is_run(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert (
        re.findall(r'<script(?! type="module" src="/static/app.js"></script>)|\son\w+="|style="', page.text)
        == []
    )
    for file in (*FOLDER.glob("*.js"), *FOLDER.glob("*.css")):
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|eval\(|url\(|https?://(?!www\.w3\.org)", file.read_text("utf-8")
        )


def test_the_one_style_of_the_chart_library_is_that_of_its_release(client: TestClient) -> None:
    library = (FOLDER / "vendor" / "lightweight-charts.mjs").read_bytes()
    (style,) = re.findall(rb'createElement\("style"\),[^"]{0,40}innerText="([^"]*)"', library)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"'sha256-{digest}'" in client.get("/").headers["content-security-policy"]
    told = (FOLDER / "vendor" / "README.md").read_text("utf-8")
    assert f"`{hashlib.sha256(library).hexdigest()}`" in told


READ = [
    *((ink, ground, 4.5) for ink in ("ink", "ink-soft", "accent", "warn", "bad") for ground in ("page", "card")),
    *((f"event-{kind}", "card", 4.5) for kind in ("split", "dividend", "hole", "held", "restatement")),
    ("ink", "accent-soft", 4.5), ("ink-soft", "accent-soft", 4.5), ("accent", "accent-soft", 4.5),
    ("accent-ink", "accent", 4.5), ("warn", "warn-soft", 4.5), ("bad", "bad-soft", 4.5),
    ("up", "card", 3), ("down", "card", 3), ("edge", "card", 3), ("edge", "page", 3),
]  # fmt: skip
"""What is read on what, and the least contrast (WCAG AA: texts 4.5, edges and drawings 3)."""


@pytest.mark.parametrize("theme", [":root", ":root.dark"])
def test_texts_and_edges_have_contrast_in_both_themes(theme: str) -> None:
    style = (FOLDER / "style.css").read_text("utf-8")
    (block,) = re.findall(rf"^{re.escape(theme)} \{{(.*?)\}}", style, re.DOTALL | re.MULTILINE)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ink, ground, least in READ:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, (ink, ground)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/static/app.js", headers={"Accept-Encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    assert first.text == (FOLDER / "app.js").read_text("utf-8")
    again = client.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["index.html", "../page.py", "%2e%2e/page.py", "vendor", "nothing.js", ""])
def test_nothing_else_has_a_path(client: TestClient, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_the_page_links_to_the_dagster_of_the_settings_and_to_nothing_dangerous(store: ObjectStore) -> None:
    url = "https://dagster.example.org/a%22b"
    page = TestClient(create_app(Settings(store=store.location, dagster_url=url))).get("/").text
    assert f'<meta name="dagster-url" content="{url}">' in page
    assert "{{" not in page
    with pytest.raises(ValueError, match="dagster_url"):
        Settings(dagster_url="javascript:alert(1)")


def test_the_page_is_open_where_reading_takes_a_key(store: ObjectStore) -> None:
    closed = TestClient(create_app(Settings(store=store.location), open_reading=False))
    assert closed.get("/v1/prices?symbols=A").status_code == 401
    assert closed.get("/").status_code == closed.get("/static/app.js").status_code == 200
