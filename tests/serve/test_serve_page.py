"""The page at `/` in a real browser: label as you type, write, explain, train, in both languages and every look."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Shown
from serving import KEY, Served

import ohlol
from ohlol.display import translations
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel

HOSTILE = ("<", "&", '"', "</script><img/src=x/onerror=document.title='run'>", "${document.title='run'}")
SLOW = 120_000
"""Milliseconds for what the machine may be too busy for."""


def show(browser: Any, server: Served, path: str = "/", **options: Any) -> Shown:
    """A page of a server."""
    shown = Shown(browser, server.url + path, **{"locale": "en-US", **options})
    shown.page.set_default_timeout(SLOW)
    return shown


@contextlib.contextmanager
def opened(browser: Any, server: Served, **options: Any) -> Iterator[Shown]:
    """The page of a server, which must ask for nothing of any other and make no error."""
    shown = show(browser, server, **options)
    shown.page.wait_for_selector("#models option", state="attached")
    yield shown
    assert all(url.startswith((server.url, server.socket_url, "data:")) for url in shown.asked), shown.asked
    assert not shown.errors, shown.errors
    shown.close(alone=False)


def until(shown: Shown, condition: str, arg: Any = None) -> None:
    """Wait for a condition in the page; the page's policy forbids the browser's own way of it, which is `eval`."""
    end = time.monotonic() + SLOW / 1000
    while not shown.page.evaluate(condition, arg):
        assert time.monotonic() < end, f"never: {condition}"
        shown.page.wait_for_timeout(20)


def heard(shown: Shown, text: str) -> tuple[list[str], list[str], list[float]]:
    """The tiles once they are those of a text: symbols, labels and probabilities."""
    until(
        shown,
        "n => document.querySelectorAll('#tiles .tile').length === n && !connection.isBusy && !wholeText.isBusy",
        arg=len(text),
    )
    exact = [float(e.get_attribute("data-probability")) for e in shown.page.locator("#tiles .tile-label").all()]
    return shown.texts("#tiles .symbol"), shown.texts("#tiles .tile-label bdi"), exact


def test_labels_as_you_type(browser: Any, server: Served, models: dict[str, TrainedModel]) -> None:
    with opened(browser, server) as shown:
        sockets: list[str] = []
        shown.page.on("websocket", lambda socket: sockets.append(socket.url))
        assert shown.page.locator("#typed").input_value() == "hello"  # what the model was trained on
        for text in ("hello", "h", "ho", "hol", "oleh", "olehh", "eh"):
            shown.page.locator("#typed").fill(text)
            wanted = models["hello"].predict(text)
            symbols, labels, probabilities = heard(shown, text)
            assert (symbols, labels) == (list(text), wanted.labels)
            assert probabilities == pytest.approx(wanted.probability, abs=1e-5)
            assert shown.page.inner_text("#labels") == "".join(wanted.labels)
        shown.page.locator("#typed").fill("")
        shown.page.locator("#typed").press_sequentially("hello", delay=20)
        assert heard(shown, "hello")[1] == list("ohlol")
        shown.page.locator("#tiles .tile").first.hover()
        assert shown.texts("#typed-labels .label") == [
            label for label, _ in models["hello"].predict("h", n_best=5).best[0]
        ]
        shown.page.locator("#typed").fill("help")
        until(shown, "document.getElementById('error').textContent.includes('was not seen')")
        shown.page.locator("#typed").fill("hel")
        assert heard(shown, "hel")[1] == models["hello"].predict("hel").labels
        assert shown.page.inner_text("#error") == ""
        shown.page.locator("#models").select_option("upper")  # reads from both ends: over predict
        shown.page.locator("#typed").fill("abe")
        assert heard(shown, "abe")[1] == models["upper"].predict("abe").labels
        shown.page.locator("#models").select_option("names")
        shown.page.locator("#typed").fill("anna")
        assert heard(shown, "anna")[1][-1] == models["names"].predict("anna").labels[0]
        assert sockets == [f"{server.socket_url}/v1/models/names/stream"]  # the first was open before we looked


def test_a_lost_connection_comes_back(browser: Any, runs: dict[str, Path]) -> None:
    with Served([str(runs["hello"])]) as first:
        shown = show(browser, first)
        heard(shown, "hello")
        first.kill()
        until(shown, "document.getElementById('error').textContent !== ''")
        with Served([str(runs["hello"])], port=first.port):
            shown.page.locator("#typed").fill("hole")
            heard(shown, "hole")
            assert shown.page.inner_text("#error") == ""
        shown.page.close()


def test_a_server_that_comes_back_with_other_models(browser: Any, runs: dict[str, Path]) -> None:
    """What was typed stays where its model does; where it is gone the first of the new ones is there."""
    with Served([str(runs["hello"]), str(runs["upper"])]) as first:
        shown = show(browser, first)
        shown.page.locator("#models").select_option("upper")  # without a socket that would notice
        shown.page.locator("#typed").fill("abe")
        heard(shown, "abe")
        first.kill()
        shown.page.locator("#typed").fill("abed")
        until(shown, "document.getElementById('error').textContent !== ''")
        assert shown.page.locator("#output.stale").count() == 1
        with Served([str(runs["names"]), str(runs["upper"])], port=first.port) as second:
            heard(shown, "abed")
            assert shown.page.locator("#typed").input_value() == "abed"
            assert shown.texts("#models option") == ["names", "upper"]
            assert shown.page.locator("#output.stale").count() == 0
            shown.page.locator("#models").select_option("names")
            shown.page.locator("#typed").fill("anna")
            heard(shown, "anna")
            second.kill()
        with Served([str(runs["hello"])], port=first.port):
            heard(shown, "hello")
            assert shown.texts("#models option") == ["hello"]
        shown.page.close()


def test_by_keyboard(browser: Any, server: Served, models: dict[str, TrainedModel]) -> None:
    with opened(browser, server) as shown:
        heard(shown, "hello")
        shown.page.locator("#tiles").focus()
        for _ in range(3):
            shown.page.keyboard.press("ArrowLeft")
        assert shown.page.locator("#tiles .tile.selected").get_attribute("data-step") == "1"
        wanted = models["hello"].predict("hello", n_best=5).best[1]
        assert shown.texts("#typed-labels .label") == [label for label, _ in wanted]
        shown.page.locator("#explain").focus()
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        assert shown.page.evaluate("document.activeElement.id") == "closeview"
        shown.page.keyboard.press("ArrowRight")
        assert shown.page.evaluate("S.t") == 1
        shown.page.keyboard.press("Escape")
        assert not shown.page.locator("#trace-view").is_visible()
        assert shown.page.evaluate("document.activeElement.id") == "explain"
        shown.page.keyboard.press("ArrowRight")  # belongs to the drawing only while it is there
        assert shown.page.evaluate("S.t") == 1
        shown.page.locator("#tab-try").focus()
        shown.page.keyboard.press("ArrowRight")
        assert shown.page.evaluate("document.activeElement.id") == "tab-train"
        assert shown.page.locator("#train").is_visible()
        assert shown.page.locator("#tab-train").get_attribute("aria-selected") == "true"


def test_writing(browser: Any, server: Served) -> None:
    with opened(browser, server) as shown:
        assert not shown.page.locator("#generate-section").is_visible()
        shown.page.locator("#models").select_option("text")
        shown.page.locator("#typed").fill("the c")
        shown.page.locator("#temperature").fill("0")
        shown.page.locator("#length").fill("100")
        shown.page.locator("#generate").click()
        until(shown, "document.getElementById('generated').textContent.length === 100")
        likeliest = shown.page.inner_text("#generated")
        with server.client() as client:
            told = client.post("/v1/models/text/generate", json={"prompt": "the c", "length": 100, "temperature": 0})
        symbols = re.findall(r'"((?:[^"\\]|\\.)*)"', "".join(re.findall(r'"symbols":\[(.*?)\]', told.text)))
        assert likeliest == "".join(s.encode().decode("unicode_escape") for s in symbols)
        assert shown.page.inner_text("#prompt") == "the c"
        shown.page.locator("#temperature").fill("2")
        assert shown.page.inner_text("#temperature-value") == "2.00"
        shown.page.locator("#length").fill("10000")
        shown.page.locator("#generate").click()
        until(shown, "document.getElementById('generated').textContent.length > 200")
        assert shown.page.inner_text("#generate") == translations.text("stop", "en")
        shown.page.locator("#generate").click()
        until(shown, "!writing")
        length = len(shown.page.inner_text("#generated"))
        assert 200 < length < 10_000
        shown.page.wait_for_timeout(200)
        assert len(shown.page.inner_text("#generated")) == length


def test_explaining(browser: Any, server: Served, models: dict[str, TrainedModel]) -> None:
    with opened(browser, server) as shown:
        shown.page.locator("#typed").fill("hole")
        heard(shown, "hole")
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        found = trace(models["hello"], "hole")
        shown.page.locator("#slider").fill("2")
        layer, gate = found.layers[0], found.layers[0].gates[0]
        assert shown.exact("#terms td[data-term=sum]") == pytest.approx(gate.total[2].tolist(), abs=1e-6)
        cells = shown.page.locator("[data-column='2'] .cell").all()
        assert [float(c.get_attribute("data-value")) for c in cells] == pytest.approx(layer.after["h"][2], abs=1e-6)
        steps = len(compute_saliency(models["hello"], "hole").symbols)
        assert shown.page.inner_text("#horizon") == translations.text("no_horizon", "en", steps=steps)
        for name, text in (("upper", "abe"), ("text", "the cat"), ("names", "anna")):
            shown.page.locator("#models").select_option(name)
            shown.page.locator("#typed").fill(text)
            heard(shown, text)
            shown.page.locator("#explain").click()
            until(shown, "s => D.symbols.join('') === s", arg=text)
        shown.page.locator("#close-trace").click()
        assert not shown.page.locator("#trace-view").is_visible()


def test_training_to_the_end(browser: Any, server: Served) -> None:
    """hello -> ohlol: the losses of the tutorial, words and hidden states that change, every epoch again afterwards."""
    with opened(browser, server) as shown:
        shown.page.locator("#tab-train").click()
        assert [e.input_value() for e in shown.page.locator("#pairs input").all()] == ["hello", "ohlol"]
        assert "8 pairs of 24 characters, 500 epochs, 64 units" in shown.page.inner_text("#train-limits")
        shown.page.locator("#start").click()
        seen: dict[str, tuple[str, str]] = {}
        while shown.page.locator("#cancel").is_enabled():
            now = shown.page.evaluate(
                "[document.getElementById('epoch-text').textContent, "
                "document.querySelector('#predictions .predicted')?.textContent, "
                "document.getElementById('hidden-states').textContent]"
            )
            if now[0] and now[1]:
                seen[now[0]] = (now[1], now[2])
            shown.page.wait_for_timeout(50)
        assert shown.page.inner_text("#train-status") == "Done: 1 of 1 right with the best weights"
        assert len(seen) >= 10
        assert len(set(seen.values())) >= 10  # it was seen to change
        assert shown.page.inner_text("#epoch-text") == "epoch 20 / 20 · loss 0.5158"
        assert shown.page.inner_text("#predictions .predicted") == "ohlol"
        assert shown.page.locator("#predictions .good").count() == 5
        shown.page.locator("#epoch-slider").fill("1")
        assert shown.page.inner_text("#epoch-text") == "epoch 1 / 20 · loss 1.8942"
        assert shown.page.inner_text("#predictions .predicted") == "eeeee"
        assert shown.page.locator("#hidden-states td").count() == 20
        assert shown.page.locator("#loss-curve .line").get_attribute("d").count("L") == 19
        shown.page.locator("#open-training").click()
        shown.page.wait_for_selector("#history tr[data-epoch='20']", state="attached")
        rows = shown.texts("#history .predicted")
        assert (len(rows), rows[0], rows[19]) == (21, "eeeee", "ohlol")  # what was said in epochs 1 and 20
        assert shown.page.inner_text("#title") == "hello → ohlol"


def test_training_is_cancelled_and_taught_anew(browser: Any, server: Served) -> None:
    with opened(browser, server) as shown:
        shown.page.locator("#tab-train").click()
        shown.page.locator("#epoch-count").fill("500")
        shown.page.locator("#pace").select_option("0.5")
        shown.page.locator("#start").click()
        until(shown, "U.epochs.length >= 2")
        shown.page.locator("#cancel").click()
        until(shown, "document.getElementById('train-status').textContent.startsWith('Cancelled after')")
        count = shown.page.evaluate("U.epochs.length")
        shown.page.wait_for_timeout(700)
        assert shown.page.evaluate("U.epochs.length") == count < 500
        shown.page.locator("#add-pair").click()
        for place, text in enumerate(("abcd", "bcda", "dcba", "cbad")):
            shown.page.locator("#pairs input").nth(place).fill(text)
        shown.page.locator("#cell").select_option("gru")
        shown.page.locator("#head").check()
        shown.page.locator("#epoch-count").fill("60")
        shown.page.locator("#pace").select_option("0")
        shown.page.locator("#start").click()
        until(shown, "document.getElementById('train-status').textContent.startsWith('Done: 2 of 2')")
        assert shown.texts("#predictions .predicted") == ["bcda", "cbad"]
        shown.page.locator("#pairs input").nth(1).fill("bcd")
        shown.page.locator("#start").click()
        until(shown, "document.getElementById('train-error').textContent !== ''")
        assert "\n" not in shown.page.inner_text("#train-error")
        shown.errors.clear()  # the browser notes the 422
        with server.client() as client:
            assert "ohlol_trainings 0.0" in client.get("/metrics").text


def test_both_languages(browser: Any, server: Served) -> None:
    with opened(browser, server, locale="zh-CN") as shown:
        assert shown.page.evaluate("document.documentElement.lang") == "zh-CN"
        heard(shown, "hello")
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        for lang in ("zh", "en"):
            shown.page.locator("#language").select_option(lang)
            other = "en" if lang == "zh" else "zh"
            for keys in (
                ("try", "typed_stream", "explain_this", "network", "close"),
                ("pairs", "pair_input", "train_start"),
            ):
                body = shown.page.inner_text("body") + " ".join(
                    e.get_attribute("placeholder") or "" for e in shown.page.locator("input").all()
                )
                for key in keys:
                    assert translations.text(key, lang) in body, key
                    assert translations.text(key, other) not in body, key
                shown.page.locator("#tab-train").click()
            shown.page.locator("#tab-try").click()
            shown.page.locator("#explain").click()
            shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_look(browser: Any, server: Served, theme: str, width: int) -> None:
    with opened(browser, server, viewport={"width": width, "height": 800}, color_scheme=theme) as shown:
        for name in ("hello", "upper", "text", "names", "sine"):
            shown.page.locator("#models").select_option(name)
            if name != "sine":
                shown.page.locator("#typed").fill("eh" * 30 if name == "hello" else "abe the cat")
                until(shown, "!line.busy && !whole_busy")
        shown.page.locator("#models").select_option("hello")
        heard(shown, "hello")
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        _fits(shown)
        shown.page.locator("#tab-train").click()
        shown.page.locator("#epoch-count").fill("3")
        shown.page.locator("#start").click()
        shown.page.wait_for_selector("#open-training:not([hidden])")
        _fits(shown)
        before = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown.page.locator("#theme-button").click()
        assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        _fits(shown)


def _fits(shown: Shown) -> None:
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    body = shown.page.inner_text("body")
    assert "undefined" not in body
    assert "NaN" not in body


def test_the_key(browser: Any, runs: dict[str, Path]) -> None:
    with Served([str(runs["hello"])], environment={"OHLOL_API_KEY": KEY}) as server:
        shown = show(browser, server)
        shown.page.wait_for_selector("#key-form:not([hidden])")
        assert not shown.page.locator("#typed").is_visible()
        shown.page.locator("#key").fill("wrong")
        shown.page.locator("#key-form button").click()
        until(shown, "document.getElementById('key-error').textContent !== ''")
        shown.page.locator("#key").fill(KEY)
        shown.page.locator("#key-form button").click()
        assert heard(shown, "hello")[1] == list("ohlol")
        assert not shown.page.locator("#key-form").is_visible()
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        shown.page.close()


def test_symbols_never_run(browser: Any, tmp_path: Path) -> None:
    """A model from a stranger, whose symbols and labels are markup and script."""
    run = tmp_path / "bad"
    ohlol.fit([(list(HOSTILE), list(HOSTILE[::-1]))] * 2, out=run, epochs=5)
    with Served([str(run)]) as server, opened(browser, server) as shown:
        policy = shown.page.locator("meta[http-equiv]").get_attribute("content")
        assert "default-src 'none'" in policy
        assert "script-src 'sha256-" in policy
        for text in (" ".join(HOSTILE), HOSTILE[3], HOSTILE[4]):
            shown.page.locator("#typed").fill(text)
            until(shown, "!line.busy")
            assert set(shown.texts("#typed-labels .label")) & set(HOSTILE)
        shown.page.locator("#explain").click()
        until(shown, "D || document.getElementById('error').textContent")
        shown.page.wait_for_timeout(300)
        assert shown.page.title() == "ohlol"
        assert shown.page.locator("img").count() == 0


def test_the_reference_is_drawn(browser: Any, server: Served) -> None:
    shown = show(browser, server, "/docs")
    shown.page.wait_for_selector("#operations-models-predict_v1_models__name__predict_post", timeout=SLOW)
    assert all(url.startswith((server.url, "data:")) for url in shown.asked), shown.asked
    assert not shown.errors, shown.errors
    shown.close(alone=False)
