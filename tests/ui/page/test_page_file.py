"""One file that needs nothing and nobody, and that no guest can break out of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from page_kit import Elements, data_in, page_of, page_of_source, session_of

import toyvisor
from toyvisor.guest.program import load_program
from toyvisor.ui.page import page as page_module
from toyvisor.ui.page import steps
from toyvisor.ui.page.page import embedded, run_page

RESOURCES = Path(toyvisor.__file__).parent / "ui" / "page"
SCRIPT = "".join(path.read_text() for path in sorted(RESOURCES.glob("*.js")))
CSS = (RESOURCES / "page.css").read_text()
BREAK_OUT = "</script><script>alert(1)</script><!-- <script>"


def test_the_same_run_makes_the_same_bytes():
    with session_of(load_program("virtio_net_tx")) as session:
        assert run_page(session) == page_of("virtio_net_tx")


def test_nothing_is_loaded_from_anywhere():
    page = page_of("one_store")
    elements = Elements(page)
    assert elements.values("src") == []
    assert elements.values("href") == ["#explanation"]
    assert {tag for tag, _ in elements.found}.isdisjoint({"link", "img", "iframe", "object"})
    outside = re.sub(r'<script id="run".*?</script>', "", page, flags=re.DOTALL)
    assert set(re.findall(r"https?://[^\s\"'`)]*", outside)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in CSS
    assert "url(" not in CSS


def test_the_page_says_nothing_of_the_machine_it_was_made_on():
    page = page_of("virtio_net_tx")
    assert str(Path(toyvisor.__file__).parent.parent) not in page
    assert str(Path.home()) not in page


def test_only_its_own_script_and_style_may_run():
    page = page_of("one_store")
    policy = next(a["content"] for _, a in Elements(page).found if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    for found, kind in ((style, "style-src"), (script, "script-src")):
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in str(policy)


def test_what_a_guest_prints_stays_data(tmp_path: Path):
    page = page_of_source(
        "mov esi, offset text\nmov dx, 0xe9\nmov ecx, offset text_end - text\nrep outsb\nhlt\n"
        f'text: .ascii "{BREAK_OUT}"\ntext_end:',
        tmp_path,
    )
    assert data_in(page)["console"] == BREAK_OUT
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(1)</script>" not in page


def test_what_stands_in_a_source_stays_data(tmp_path: Path):
    page = page_of_source(f"hlt ; {BREAK_OUT} {{{{run}}}} {{{{script}}}}", tmp_path)
    assert page.count("<script") == 2
    lines = data_in(page)["files"][0]["lines"]
    assert f"hlt ; {BREAK_OUT} {{{{run}}}} {{{{script}}}}" in lines


def test_a_title_is_text(tmp_path: Path):
    path = tmp_path / "guest.s"
    path.write_text('; /// machine\n; mode = "long"\n; title = "<b>&{{run}}"\n; ///\nhlt\n')
    with session_of(load_program(path, use_cache=False)) as session:
        page = run_page(session)
    assert "<h1>guest: &lt;b&gt;&amp;{{run}}</h1>" in page
    assert data_in(page)["title"] == "<b>&{{run}}"


@pytest.mark.parametrize("text", [BREAK_OUT, "\u2028\u2029", "\x00\x1b", "]]>", "&amp;"])
def test_embedded_data_is_ascii_without_markup(text: str):
    made = embedded([text])
    assert json.loads(made) == [text]
    assert made.isascii()
    assert not set(made) & set("<>&")


def test_a_guest_that_prints_a_lot_does_not_make_a_large_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The page keeps 1,000 characters here: as many as a lecture needs is 200,000."""
    monkeypatch.setattr(steps, "MOST_CONSOLE", 1_000)
    source = "mov ecx, 4000\nmov dx, 0xe9\nmov al, 'x'\n1: out dx, al\nloop 1b\nhlt"
    data = data_in(page_of_source(source, tmp_path))
    assert data["console"] == "x" * 1_000


def test_a_page_that_would_be_too_large_shows_fewer_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_module, "MOST_CHARACTERS", 200_000)
    with session_of(load_program("virtio_net_tx")) as session:
        page = run_page(session)
    assert len(page) <= 200_000
    assert len(data_in(page)["steps"]) < 1313


# For people ----------------------------------------------------------------------------------


def test_names_and_labels_fit_together():
    elements = Elements(page_of("one_store"))
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    referred = [*elements.values("for"), *(" ".join(elements.values("aria-labelledby"))).split()]
    assert set(referred) <= set(ids)
    fields = [attrs for tag, attrs in elements.found if tag in ("input", "select")]
    assert {str(attrs["id"]) for attrs in fields} <= set(elements.values("for"))
    assert set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) <= set(ids)


def test_every_section_has_a_heading_and_every_button_a_name():
    elements = Elements(page_of("one_store"))
    sections = [attrs for tag, attrs in elements.found if tag == "section"]
    assert len(sections) == 9
    assert all("aria-labelledby" in attrs for attrs in sections)
    page = page_of("one_store")
    assert not re.search(r"<button[^>]*>\s*</button>", page)
    assert 'lang="en"' in page
    assert 'aria-live="polite"' in page
    assert '<meta name="viewport"' in page


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def _luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_all_text_has_enough_contrast(theme: str):
    """4.5 to 1, WCAG 2.1 AA; on the paper, the panels and the marked lines."""
    block = CSS[CSS.index(f"{theme} {{") :].partition("}")[0]
    colours = _colours(block)
    for name in ("ink", "faint", "guest", "kvm", "qemu", "host", "changed"):
        for ground in ("paper", "panel"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for name in ("ink", "guest", "kvm", "qemu", "host"):
        assert contrast(colours[name], colours["here"]) >= 4.5, name
    assert contrast(colours["changed"], colours["changed-paper"]) >= 4.5


def test_it_can_be_printed_and_has_a_dark_side():
    assert "@media print" in CSS
    assert 'data-theme="dark"' in CSS
    assert "prefers-color-scheme: dark" in SCRIPT


def test_the_script_puts_nothing_on_the_page_but_text():
    assert "innerHTML" not in SCRIPT
    assert "outerHTML" not in SCRIPT
    assert "insertAdjacentHTML" not in SCRIPT
    assert "eval(" not in SCRIPT
    assert "fetch(" not in SCRIPT
    assert "</script" not in SCRIPT
