"""The page's files as they are served; what it does in a browser is in ``tests/page``."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pygments.lexers import CssLexer, JavascriptLexer
from pygments.token import Comment

from service.api.routes.page import WEB, read_assets
from tests.paths import REPOSITORY
from tests.service.wire import check_problem


def test_the_page_and_its_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    linked = set(re.findall(r'(?:href|src)="(/web/[^"]+)"', page.text))
    assert len(linked) > 10
    for address in linked:
        file = client.get(address)
        assert file.status_code == 200, address
        assert file.headers["x-content-type-options"] == "nosniff"


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(client: TestClient) -> None:
    for address in ("/", "/web/main.js"):
        policy = dict(part.split(" ", 1) for part in client.get(address).headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert not any(word in value for value in policy.values() for word in ("unsafe", "http", "*", "data:"))


def test_a_file_is_sent_again_only_when_it_changed(client: TestClient) -> None:
    first = client.get("/web/main.js")
    assert first.headers["cache-control"] == "no-cache"
    known = client.get("/web/main.js", headers={"if-none-match": f'W/{first.headers["etag"]}, "other"'})
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert client.get("/web/main.js", headers={"if-none-match": '"other"'}).status_code == 200
    head = client.head("/")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("address", ["/", "/web/main.js"])
def test_files_of_text_are_compressed_for_who_reads_gzip(client: TestClient, address: str) -> None:
    answers = [client.get(address, headers={"accept-encoding": each}) for each in ("gzip", "identity", "gzip;q=0, br")]
    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None, None]
    assert len({answer.content for answer in answers}) == 1
    assert int(answers[0].headers["content-length"]) < len(answers[0].content) / 2
    assert answers[0].headers["etag"] != answers[1].headers["etag"]
    assert {answer.headers["vary"] for answer in answers} == {"Accept-Encoding"}
    for answer, encoding in zip(answers, ("gzip", "identity"), strict=False):
        known = {"if-none-match": answer.headers["etag"], "accept-encoding": encoding}
        assert client.get(address, headers=known).status_code == 304


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.py", "..%2fapp.py", "%2e%2e/app.py", "examples/SOURCE.md", "types.d.ts", ""]
)
def test_nothing_else_is_there(client: TestClient, name: str) -> None:
    check_problem(client.get(f"/web/{name}"), 404)


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_what_a_reader_loads_is_small(language: str) -> None:
    assets = {name: asset for name, asset in read_assets().items() if not name.startswith("examples/")}
    mine = f"strings/{language}/"
    assert any(name.startswith(mine) for name in assets)
    loaded = [asset for name, asset in assets.items() if name.startswith(mine) or not name.startswith("strings/")]
    assert sum(len(asset.compressed or asset.content) for asset in loaded) < 100_000
    assert sum(len(asset.content) for asset in loaded) < 200_000


def test_scripts_and_styles_are_served_without_comments_and_with_everything_else() -> None:
    assets = read_assets()
    for path in [*WEB.rglob("*.js"), *WEB.rglob("*.css")]:
        lexer = JavascriptLexer() if path.suffix == ".js" else CssLexer()
        said = path.read_text(encoding="utf-8"), assets[path.relative_to(WEB).as_posix()].content.decode()
        source, served = ([token for token in lexer.get_tokens(text) if token[1].strip()] for text in said)
        assert [t for t in source if t[0] not in Comment] == [t for t in served if t[0] not in Comment], path.name
        assert not [text for kind, text in served if kind in Comment.Multiline and "@" in text], path.name


def test_the_examples_are_small_and_their_source_is_named() -> None:
    source = (WEB / "examples" / "SOURCE.md").read_text(encoding="utf-8")
    examples = sorted((WEB / "examples").glob("*.jpg"))
    assert len(examples) == 2
    for path in examples:
        assert path.stem in source
        assert "CC0" in source
        assert path.stat().st_size < 150_000
        with Image.open(path) as picture:
            assert max(picture.size) == 1024
            assert not picture.getexif()


def test_the_page_names_every_module_for_loading_at_once() -> None:
    index = (WEB / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'/web/(\w+)\.js"', index))
    assert named == {path.stem for path in WEB.glob("*.js")}


def test_the_package_holds_the_page() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert '"web/**/*"' in text
