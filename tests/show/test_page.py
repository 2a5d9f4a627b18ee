"""The page of ``vit1dx report`` in headless Chromium: opened, clicked, typed into, played."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import soundfile
from typer.testing import CliRunner

from vit1dx.cli.main import app

from ..synth import song
from .many import write_many
from .test_report import HOSTILE, IDS, report

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromium-driver"),
]
_T = TypeVar("_T")


class Browser:
    """Headless Chromium without a network, and what its console said."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,1000",
            "--autoplay-policy=no-user-gesture-required",
            "--proxy-server=127.0.0.1:9",  # where nobody listens
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)

    def open(self, page: Path) -> None:
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def require_quiet(self) -> None:
        assert self.driver.get_log("browser") == []

    def find(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> WebElement:
        return self.find(selector)[0]

    def ask(self, expression: str) -> object:
        return self.driver.execute_script(f"return {expression}")

    def pixels(self, canvas: str) -> object:
        """What a canvas shows."""
        return self.ask(f"document.getElementById('{canvas}').toDataURL()")

    def chosen(self) -> str:
        return self.one("#name").text

    def media(self, **features: str) -> None:
        named = [{"name": key.replace("_", "-"), "value": v} for key, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})


def until(look: Callable[[], _T]) -> _T:
    """What a look gives, once that is true."""
    end = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture(scope="module")
def music_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three songs in two folders, which lie beside it."""
    folder = tmp_path_factory.mktemp("music page")
    for number, name in enumerate(("a/one #1.wav", "a/two.wav", "b/three?.wav")):
        path = folder / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, song(8.0 + number, seed=number), 44_100)
    feats, music = str(folder / "feats.h5"), str(folder / "music")
    command = ["extract", music, "-o", feats, "--layers", "0,1,4", "-q"]
    assert CliRunner().invoke(app, command).exit_code == 0
    return report(Path(feats), folder / "page.html", "--layer", "1")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_many(folder / "feats.h5", IDS)
    rows = "".join(f'"{name.replace(chr(34), chr(34) * 2)}",{name[:9]!r}\n' for name in IDS)
    (folder / "x.csv").write_text(f'id,"</script><b onclick=window.pwned=1>"\n{rows}')
    arguments = ("--labels", str(folder / "x.csv"), "--details", "2")
    return report(folder / "feats.h5", folder / "page.html", *arguments)


def test_it_opens_without_a_word_and_shows_a_track(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    assert browser.driver.title == "feats.h5 · vit1dx"
    assert browser.chosen() == "a/one #1.wav"
    assert "3 tracks" in browser.one("#facts").text
    for canvas in ("map", "similarity", "novelty", "onsets", "attention"):
        shades = browser.driver.execute_script(
            "const canvas = document.getElementById(arguments[0]);"
            "const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "return new Set(new Uint32Array(all.data.buffer)).size",
            canvas,
        )
        assert isinstance(shades, int)
        assert shades > 2, canvas
    browser.require_quiet()


def test_the_slider_moves_through_layers(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    slider = browser.one("#layer")
    assert browser.one("#similarity-caption").text == "Self-similarity, layer 1"
    before = browser.pixels("similarity"), browser.pixels("attention")
    slider.send_keys("\ue014")  # right
    assert browser.one("#similarity-caption").text == "Self-similarity, layer 4"
    assert slider.get_attribute("aria-valuetext") == "layer 4"
    assert browser.pixels("similarity") != before[0]
    assert browser.pixels("attention") != before[1]
    slider.send_keys("\ue012\ue012")  # left, to the embedding, which has no attention
    assert browser.one("#similarity-caption").text == "Self-similarity, layer 0"
    assert not browser.one("#attention").is_displayed()
    slider.send_keys("\ue014")
    assert browser.pixels("attention") == before[1]
    browser.require_quiet()


def test_a_neighbour_is_clicked(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    before = browser.pixels("similarity")
    neighbour = browser.one("#near button")
    name = neighbour.find_element("css selector", "bdi").text
    neighbour.click()
    assert browser.chosen() == name != "a/one #1.wav"
    assert browser.pixels("similarity") != before
    assert name in str(browser.ask("document.getElementById('said').textContent"))
    assert browser.one("#list tr[aria-current] bdi").text == name
    browser.open(Path(str(music_page)))  # the address names it, so that it comes back
    browser.require_quiet()


def test_search_sort_and_arrow_keys(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)

    def listed() -> object:
        names = "document.querySelectorAll('#list td:first-child bdi')"
        return browser.ask(f"Array.from({names}, (one) => one.textContent)")

    assert listed() == ["a/one #1.wav", "a/two.wav", "b/three?.wav"]
    length = browser.one("#head th:nth-child(2)")
    for way, first in (("ascending", "a/one #1.wav"), ("descending", "b/three?.wav")):
        length.find_element("css selector", "button").click()
        assert length.get_attribute("aria-sort") == way
        assert browser.one("#list bdi").text == first
    search = browser.one("#search")
    search.send_keys("THRÉE b")
    until(lambda: listed() == ["b/three?.wav"])
    assert browser.one("#count").text == "1 of 3 tracks"
    search.clear()
    search.send_keys("a/")
    until(lambda: listed() == ["b/three?.wav", "a/two.wav", "a/one #1.wav"][1:])
    search.send_keys("\ue015")  # down, into the list
    focused = browser.driver.switch_to.active_element
    assert focused.text == "a/two.wav"
    focused.send_keys("\ue015")
    browser.driver.switch_to.active_element.send_keys("\ue007")  # enter
    assert browser.chosen() == "a/one #1.wav"
    browser.require_quiet()


def test_the_map_by_keys_and_by_click(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    canvas = browser.one("#map")
    seen = {browser.chosen()}
    for key in "\ue012\ue013\ue014\ue015" * 2:
        canvas.send_keys(key)
        seen.add(browser.chosen())
    assert len(seen) == 3
    other = next(name for name in sorted(seen) if name != browser.chosen())
    x, y = browser.driver.execute_script(
        "const canvas = document.getElementById('map');"
        "const whole = JSON.parse(document.getElementById('collection').textContent);"
        "const places = new Float32Array(Uint8Array.from(atob(whole.map.places),"
        " (c) => c.charCodeAt(0)).buffer);"
        "const i = whole.ids.indexOf(arguments[0]);"
        "const side = Math.min(canvas.clientWidth, canvas.clientHeight) - 36;"
        "return [(places[2 * i] - 0.5) * side, -(places[2 * i + 1] - 0.5) * side]",
        other,
    )
    actions = webdriver.ActionChains(browser.driver)
    actions.move_to_element_with_offset(canvas, round(x), round(y)).click().perform()
    assert browser.chosen() == other
    assert browser.one("#tip").is_displayed()
    browser.require_quiet()


def test_the_music_plays_and_a_cursor_moves(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    until(lambda: browser.ask("document.getElementById('audio').readyState >= 1"))
    assert browser.ask("document.getElementById('audio').getAttribute('src')") == (
        "music/a/one%20%231.wav"
    )

    def places() -> list[float]:
        return [
            float(cursor.value_of_css_property("left").removesuffix("px"))
            for cursor in browser.find(".cursor[data-of]")
            if cursor.is_displayed()
        ]

    assert places() == [0.0] * 4
    browser.driver.execute_script("document.getElementById('audio').play()")
    until(lambda: all(place > 1 for place in places()))
    browser.driver.execute_script("document.getElementById('audio').pause()")
    browser.one("#onsets").click()  # its middle
    at = until(lambda: browser.ask("document.getElementById('audio').currentTime"))
    assert at == pytest.approx(4.0, abs=0.1)
    width = float(str(browser.ask("document.getElementById('onsets').clientWidth")))
    until(lambda: abs(places()[2] - width / 2) < 0.02 * width)
    browser.require_quiet()


def test_embedded_music_plays_without_its_file(
    browser: Browser, music_page: Path, tmp_path: Path
) -> None:
    feats = music_page.parent / "feats.h5"
    page = report(feats, tmp_path / "alone.html", "--embed-audio", "--details", "1")
    browser.open(page)
    until(lambda: browser.ask("document.getElementById('audio').duration > 7.9"))
    browser.find("#near button")[0].click()
    assert not browser.one("#audio").is_displayed()
    assert "no details of the track" in browser.one("#no-audio").text
    assert "1 track of 3" in browser.one("#no-details").text
    browser.require_quiet()


def test_names_and_labels_are_text_and_never_run(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    shown = {name.get_attribute("textContent") for name in browser.find("#list td bdi")}
    assert set(IDS) <= shown
    for name in HOSTILE:
        browser.driver.execute_script(
            "[...document.querySelectorAll('#list button')]"
            ".find((one) => one.textContent === arguments[0]).click()",
            name,
        )
        assert browser.one("#name bdi").get_attribute("textContent") == name
    assert browser.ask("window.pwned") is None
    assert browser.find("img, b") == []
    browser.require_quiet()


def test_no_other_script_can_run(browser: Browser, hostile_page: Path) -> None:
    """Even if one came in: the page's policy names its own by hash."""
    browser.open(hostile_page)
    browser.driver.execute_script(
        "const one = document.createElement('script'); one.textContent = 'window.pwned = 1';"
        "document.body.append(one)"
    )
    assert browser.ask("window.pwned") is None
    assert "Content Security Policy" in str(browser.driver.get_log("browser"))


def test_dark_and_still_and_narrow(browser: Browser, music_page: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        browser.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        browser.open(music_page)
        grounds.add(str(browser.ask("getComputedStyle(document.body).backgroundColor")))
        ratios = browser.driver.execute_script(CONTRASTS)
        assert min(ratios) >= 4.5, (scheme, ratios)
        browser.require_quiet()
    assert len(grounds) == 2
    browser.driver.set_window_size(500, 900)
    wide = browser.ask("document.documentElement.scrollWidth - innerWidth")
    browser.driver.set_window_size(1280, 1000)
    browser.media()
    assert isinstance(wide, int)
    assert wide <= 0


def test_every_control_has_a_name(browser: Browser, music_page: Path) -> None:
    browser.open(music_page)
    nameless = browser.driver.execute_script(
        "return [...document.querySelectorAll('button, input, audio, canvas[tabindex], select')]"
        ".filter((one) => one.offsetParent && !one.textContent.trim() && !one.labels?.length"
        " && !one.getAttribute('aria-label')).map((one) => one.outerHTML)"
    )
    assert nameless == []


#: Contrast of text with what it stands on (WCAG 2), of some elements of each kind.
CONTRASTS = """
const luminance = (text) => {
  const parts = text.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
return ["h1", "#facts", ".hint", "#count", "#list td.number", "#list button", ".cosine",
  "figcaption", "#guide-frame td", "#guide-frame small", "#guide-frame thead th",
  "footer p", ".ends span"]
  .map((selector) => document.querySelector(selector)).map((one) => {
    const [a, b] = [luminance(getComputedStyle(one).color), luminance(ground(one))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
"""
