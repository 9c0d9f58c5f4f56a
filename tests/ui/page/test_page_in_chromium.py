"""The page in a real browser, without a network: what it shows, and what its keys do."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from page_kit import page_of

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=2000", "--dump-dom",
)  # fmt: skip
#: Keys to press, then what to note down of the page after each.
KEYS = """
const noted = [];
const note = () => noted.push([number.value, document.getElementById("what-title").textContent]);
const number = document.getElementById("number");
note();
for (const [key, shiftKey] of %s) {
  document.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
  note();
}
document.body.dataset.noted = JSON.stringify(noted);
document.body.dataset.errors = errors.join("; ");
"""
WATCH = "const errors = []; addEventListener('error', (event) => errors.push(event.message));"


def dom(page: str, tmp_path: Path, step: int | None = None, size: str = "1280,800") -> str:
    """The page's elements once its script has run."""
    path = tmp_path / "page.html"
    path.write_text(page)
    address = path.as_uri() + (f"#step={step}" if step is not None else "")
    done = subprocess.run(
        [str(CHROMIUM), *OPTIONS, f"--window-size={size}", f"--user-data-dir={tmp_path / 'own'}",
         address],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )  # fmt: skip
    return done.stdout


def text_of(page: str, name: str) -> str:
    """The text of an element by its id."""
    found = re.search(rf'id="{name}"[^>]*>(.*?)</(?:p|h3|ol|dl|tbody|pre)>', page, re.DOTALL)
    assert found, name
    return unescape(re.sub(r"<[^>]+>", "|", found[1]))


def words(text: str) -> str:
    return " ".join(text.replace("|", " ").split())


def pressed(page: str, keys: list[tuple[str, bool]], tmp_path: Path) -> list[list[str]]:
    """[step, title] before and after each key. The page's own policy would not let us in."""
    import json

    assert 'http-equiv="Content-Security-Policy"' in page
    page = re.sub(r"<meta http-equiv[^>]*>", f"<script>{WATCH}</script>", page)
    script = KEYS % json.dumps(keys)
    page = page.replace("</body>", f"<script>{script}</script></body>")
    made = dom(page, tmp_path)
    assert re.search(r'data-errors="([^"]*)"', made)[1] == ""
    return json.loads(unescape(re.search(r'data-noted="([^"]*)"', made)[1]))


def test_it_shows_the_step_of_its_address(tmp_path: Path):
    """Step 6 of one_store: the first copy is done, the second is not."""
    made = dom(page_of("one_store"), tmp_path, step=6)
    assert words(text_of(made, "way-title")) == "exit 1 of 2: store to 0xd0000018, 4 bytes"
    assert words(text_of(made, "way-words")) == "▣ 4 bytes in kvm_run.mmio.data"
    assert words(text_of(made, "what-title")) == "4 bytes are copied: guest->kvm"
    assert "rax 0000000012345678" in words(text_of(made, "general"))
    counted = words(text_of(made, "counted"))
    assert "vmexits 1" in counted
    assert "copies 1* 4 bytes" in counted
    assert "▶ 19" in words(text_of(made, "lines"))
    hops = re.findall(r"<li[^>]*>", made[made.index('id="hops"') :].partition("</ol>")[0])
    assert [("later" in hop, "aria-current" in hop) for hop in hops] == [
        (False, False), (False, False), (False, True),
        (True, False), (True, False), (True, False), (True, False), (True, False),
    ]  # fmt: skip


def test_keys_go_by_steps_and_by_exits(tmp_path: Path):
    keys = [
        ("ArrowRight", False), ("ArrowRight", True), ("ArrowLeft", False), ("End", False),
        ("ArrowRight", False), ("ArrowLeft", True), ("ArrowLeft", True), ("Home", False),
    ]  # fmt: skip
    noted = pressed(page_of("one_store"), keys, tmp_path)
    assert [int(step) for step, _ in noted] == [1, 2, 4, 3, 14, 14, 13, 4, 1]
    assert noted[2][1] == "The guest leaves: EPT_VIOLATION"
    assert noted[4][1] == "The run is over: halted"


def test_large_type_themes_and_help_break_nothing(tmp_path: Path):
    noted = pressed(
        page_of("virtio_net_tx"), [("l", False), ("t", False), ("?", False), ("?", False)], tmp_path
    )
    assert len({step for step, _ in noted}) == 1


def test_the_last_step_of_a_long_run_on_a_phone(tmp_path: Path):
    made = dom(page_of("mmio_nic_tx"), tmp_path, step=3000, size="420,800")
    assert words(text_of(made, "way-title")) == "exit 2904 of 2904: HLT"
    assert "vmexits 2,904" in words(text_of(made, "counted"))
    assert "of 2,904 are left out" in made


def test_a_virtqueue_in_flight(tmp_path: Path):
    made = dom(page_of("virtio_net_tx"), tmp_path, step=788)
    queue = words(
        re.sub(r"<[^>]+>", " ", made[made.index('id="queues"') :].partition("</section>")[0])
    )
    assert "given 14 ▸ taken 14 ▸ given back 13" in queue
    assert "NEXT → 1 device: in flight" in queue
