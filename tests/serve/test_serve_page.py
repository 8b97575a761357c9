"""The page at `/` in a browser: label, generate, explain and train, in both languages, themes and widths."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Shown
from serving import KEY, ServerProcess

import ohlol
from ohlol.display import texts
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel

HOSTILE = ("<", "&", '"', "</script><img/src=x/onerror=document.title='run'>", "${document.title='run'}")
SLOW = 120_000
"""Milliseconds to wait for the page, since the machine may be busy."""


def open_page(browser: Any, server: ServerProcess, path: str = "/", **options: Any) -> Shown:
    """Open a page of a server."""
    shown = Shown(browser, server.url + path, **{"locale": "en-US", **options})
    shown.page.set_default_timeout(SLOW)
    return shown


@contextlib.contextmanager
def open_checked_page(browser: Any, server: ServerProcess, **options: Any) -> Iterator[Shown]:
    """Open the page of a server, and check that it sends no requests to others and has no errors."""
    shown = open_page(browser, server, **options)
    shown.page.wait_for_selector("#models option", state="attached")
    yield shown
    assert all(url.startswith((server.url, server.socket_url, "data:")) for url in shown.asked), shown.asked
    assert not shown.errors, shown.errors
    shown.close(alone=False)


def wait_until(shown: Shown, condition: str, arg: Any = None) -> None:
    """Wait for a condition in the page. Playwright's own function needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + SLOW / 1000
    while not shown.page.evaluate(condition, arg):
        assert time.monotonic() < end, f"never: {condition}"
        shown.page.wait_for_timeout(20)


def wait_for_labels(shown: Shown, text: str) -> tuple[list[str], list[str], list[float]]:
    """Wait until the labels of a text are shown; symbols, labels and probabilities."""
    wait_until(
        shown,
        "n => document.querySelectorAll('#tiles .tile').length === n && !connection.isBusy && !wholeText.isBusy",
        arg=len(text),
    )
    exact = [float(e.get_attribute("data-probability")) for e in shown.page.locator("#tiles .tile-label").all()]
    return shown.texts("#tiles .symbol"), shown.texts("#tiles .tile-label bdi"), exact


def test_labels_are_shown_while_typing(browser: Any, server: ServerProcess, models: dict[str, TrainedModel]) -> None:
    with open_checked_page(browser, server) as shown:
        sockets: list[str] = []
        shown.page.on("websocket", lambda socket: sockets.append(socket.url))
        assert shown.page.locator("#typed").input_value() == "hello"  # the example of the model
        for text in ("hello", "h", "ho", "hol", "oleh", "olehh", "eh"):
            shown.page.locator("#typed").fill(text)
            expected = models["hello"].predict(text)
            symbols, labels, probabilities = wait_for_labels(shown, text)
            assert (symbols, labels) == (list(text), expected.labels)
            assert probabilities == pytest.approx(expected.probability, abs=1e-5)
            assert shown.page.inner_text("#labels") == "".join(expected.labels)
        shown.page.locator("#typed").fill("")
        shown.page.locator("#typed").press_sequentially("hello", delay=20)
        assert wait_for_labels(shown, "hello")[1] == list("ohlol")
        shown.page.locator("#tiles .tile").first.hover()
        assert shown.texts("#typed-labels .label") == [
            label for label, _ in models["hello"].predict("h", n_best=5).best[0]
        ]
        shown.page.locator("#typed").fill("help")
        wait_until(shown, "document.getElementById('error').textContent.includes('was not seen')")
        shown.page.locator("#typed").fill("hel")
        assert wait_for_labels(shown, "hel")[1] == models["hello"].predict("hel").labels
        assert shown.page.inner_text("#error") == ""
        shown.page.locator("#models").select_option("upper")  # bidirectional: labelled with predict
        shown.page.locator("#typed").fill("abe")
        assert wait_for_labels(shown, "abe")[1] == models["upper"].predict("abe").labels
        shown.page.locator("#models").select_option("names")
        shown.page.locator("#typed").fill("anna")
        assert wait_for_labels(shown, "anna")[1][-1] == models["names"].predict("anna").labels[0]
        assert sockets == [f"{server.socket_url}/v1/models/names/stream"]  # the first came before the handler


@pytest.mark.slow
def test_lost_connection_is_opened_again(browser: Any, runs: dict[str, Path]) -> None:
    with ServerProcess([str(runs["hello"])]) as first:
        shown = open_page(browser, first)
        wait_for_labels(shown, "hello")
        first.kill()
        wait_until(shown, "document.getElementById('error').textContent !== ''")
        with ServerProcess([str(runs["hello"])], port=first.port):
            shown.page.locator("#typed").fill("hole")
            wait_for_labels(shown, "hole")
            assert shown.page.inner_text("#error") == ""
        shown.page.close()


@pytest.mark.slow
def test_restarted_server_with_other_models(browser: Any, runs: dict[str, Path]) -> None:
    """The input stays while its model does; without it the first of the new models is selected."""
    with ServerProcess([str(runs["hello"]), str(runs["upper"])]) as first:
        shown = open_page(browser, first)
        shown.page.locator("#models").select_option("upper")  # without a WebSocket, which would notice at once
        shown.page.locator("#typed").fill("abe")
        wait_for_labels(shown, "abe")
        first.kill()
        shown.page.locator("#typed").fill("abed")
        wait_until(shown, "document.getElementById('error').textContent !== ''")
        assert shown.page.locator("#output.stale").count() == 1
        with ServerProcess([str(runs["names"]), str(runs["upper"])], port=first.port) as second:
            wait_for_labels(shown, "abed")
            assert shown.page.locator("#typed").input_value() == "abed"
            assert shown.texts("#models option") == ["names", "upper"]
            assert shown.page.locator("#output.stale").count() == 0
            shown.page.locator("#models").select_option("names")
            shown.page.locator("#typed").fill("anna")
            wait_for_labels(shown, "anna")
            second.kill()
        with ServerProcess([str(runs["hello"])], port=first.port):
            wait_for_labels(shown, "hello")
            assert shown.texts("#models option") == ["hello"]
        shown.page.close()


def test_the_page_works_with_the_keyboard_alone(
    browser: Any, server: ServerProcess, models: dict[str, TrainedModel]
) -> None:
    with open_checked_page(browser, server) as shown:
        wait_for_labels(shown, "hello")
        shown.page.locator("#tiles").focus()
        for _ in range(3):
            shown.page.keyboard.press("ArrowLeft")
        assert shown.page.locator("#tiles .tile.selected").get_attribute("data-step") == "1"
        expected = models["hello"].predict("hello", n_best=5).best[1]
        assert shown.texts("#typed-labels .label") == [label for label, _ in expected]
        shown.page.locator("#explain").focus()
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        assert shown.page.evaluate("document.activeElement.id") == "close-trace"
        shown.page.keyboard.press("ArrowRight")
        assert shown.page.evaluate("selection.step") == 1
        shown.page.keyboard.press("Escape")
        assert not shown.page.locator("#trace-view").is_visible()
        assert shown.page.evaluate("document.activeElement.id") == "explain"
        shown.page.keyboard.press("ArrowRight")  # handled by the drawing while it is shown
        assert shown.page.evaluate("selection.step") == 1
        shown.page.locator("#tab-try").focus()
        shown.page.keyboard.press("ArrowRight")
        assert shown.page.evaluate("document.activeElement.id") == "tab-train"
        assert shown.page.locator("#train").is_visible()
        assert shown.page.locator("#tab-train").get_attribute("aria-selected") == "true"


def test_the_page_generates_text(browser: Any, server: ServerProcess) -> None:
    with open_checked_page(browser, server) as shown:
        assert not shown.page.locator("#generate-section").is_visible()
        shown.page.locator("#models").select_option("text")
        shown.page.locator("#typed").fill("the c")
        shown.page.locator("#temperature").fill("0")
        shown.page.locator("#length").fill("100")
        shown.page.locator("#generate").click()
        wait_until(shown, "document.getElementById('generated').textContent.length === 100")
        most_probable = shown.page.inner_text("#generated")
        with server.client() as client:
            answer = client.post("/v1/models/text/generate", json={"prompt": "the c", "length": 100, "temperature": 0})
        symbols = re.findall(r'"((?:[^"\\]|\\.)*)"', "".join(re.findall(r'"symbols":\[(.*?)\]', answer.text)))
        assert most_probable == "".join(s.encode().decode("unicode_escape") for s in symbols)
        assert shown.page.inner_text("#prompt") == "the c"
        shown.page.locator("#temperature").fill("2")
        assert shown.page.inner_text("#temperature-value") == "2.00"
        shown.page.locator("#length").fill("10000")
        shown.page.locator("#generate").click()
        wait_until(shown, "document.getElementById('generated').textContent.length > 200")
        assert shown.page.inner_text("#generate") == texts.text("stop", "en")
        shown.page.locator("#generate").click()
        wait_until(shown, "!generation")
        length = len(shown.page.inner_text("#generated"))
        assert 200 < length < 10_000
        shown.page.wait_for_timeout(200)
        assert len(shown.page.inner_text("#generated")) == length


def test_the_page_shows_the_trace_of_a_prediction(
    browser: Any, server: ServerProcess, models: dict[str, TrainedModel]
) -> None:
    with open_checked_page(browser, server) as shown:
        shown.page.locator("#typed").fill("hole")
        wait_for_labels(shown, "hole")
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        expected = trace(models["hello"], "hole")
        shown.page.locator("#slider").fill("2")
        layer, gate = expected.layers[0], expected.layers[0].gates[0]
        assert shown.exact("#terms td[data-term=sum]") == pytest.approx(gate.total[2].tolist(), abs=1e-6)
        cells = shown.page.locator("[data-column='2'] .cell").all()
        assert [float(c.get_attribute("data-value")) for c in cells] == pytest.approx(layer.after["h"][2], abs=1e-6)
        steps = len(compute_saliency(models["hello"], "hole").symbols)
        assert shown.page.inner_text("#influence-length") == texts.text("no_influence_length", "en", steps=steps)
        for name, text in (("upper", "abe"), ("text", "the cat"), ("names", "anna")):
            shown.page.locator("#models").select_option(name)
            shown.page.locator("#typed").fill(text)
            wait_for_labels(shown, text)
            shown.page.locator("#explain").click()
            wait_until(shown, "s => trace.symbols.join('') === s", arg=text)
        shown.page.locator("#close-trace").click()
        assert not shown.page.locator("#trace-view").is_visible()


def test_complete_training(browser: Any, server: ServerProcess) -> None:
    """hello -> ohlol: the losses of the tutorial, and the labels and hidden states of each epoch."""
    with open_checked_page(browser, server) as shown:
        shown.page.locator("#tab-train").click()
        assert [e.input_value() for e in shown.page.locator("#pairs input").all()] == ["hello", "ohlol"]
        assert "8 pairs of 24 characters, 500 epochs, 64 neurons" in shown.page.inner_text("#train-limits")
        shown.page.locator("#start").click()
        epochs: dict[str, tuple[str, str]] = {}
        while shown.page.locator("#cancel").is_enabled():
            now = shown.page.evaluate(
                "[document.getElementById('epoch-text').textContent, "
                "document.querySelector('#predictions .predicted')?.textContent, "
                "document.getElementById('hidden-states').textContent]"
            )
            if now[0] and now[1]:
                epochs[now[0]] = (now[1], now[2])
            shown.page.wait_for_timeout(50)
        assert shown.page.inner_text("#train-status") == "Done: 1 of 1 correct with the best weights"
        assert len(epochs) >= 10
        assert len(set(epochs.values())) >= 10  # it changed while it was shown
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
        assert (len(rows), rows[0], rows[19]) == (21, "eeeee", "ohlol")  # the outputs of epochs 1 and 20
        assert shown.page.inner_text("#title") == "hello → ohlol"


def test_cancelled_training_and_a_second_one(browser: Any, server: ServerProcess) -> None:
    with open_checked_page(browser, server) as shown:
        shown.page.locator("#tab-train").click()
        shown.page.locator("#epoch-count").fill("500")
        shown.page.locator("#pace").select_option("0.5")
        shown.page.locator("#start").click()
        wait_until(shown, "training.epochs.length >= 2")
        shown.page.locator("#cancel").click()
        wait_until(shown, "document.getElementById('train-status').textContent.startsWith('Cancelled after')")
        count = shown.page.evaluate("training.epochs.length")
        shown.page.wait_for_timeout(700)
        assert shown.page.evaluate("training.epochs.length") == count < 500
        shown.page.locator("#add-pair").click()
        for place, text in enumerate(("abcd", "bcda", "dcba", "cbad")):
            shown.page.locator("#pairs input").nth(place).fill(text)
        shown.page.locator("#cell").select_option("gru")
        shown.page.locator("#head").check()
        shown.page.locator("#epoch-count").fill("60")
        shown.page.locator("#pace").select_option("0")
        shown.page.locator("#start").click()
        wait_until(shown, "document.getElementById('train-status').textContent.startsWith('Done: 2 of 2')")
        assert shown.texts("#predictions .predicted") == ["bcda", "cbad"]
        shown.page.locator("#pairs input").nth(1).fill("bcd")
        shown.page.locator("#start").click()
        wait_until(shown, "document.getElementById('train-error').textContent !== ''")
        assert "\n" not in shown.page.inner_text("#train-error")
        shown.errors.clear()  # the browser logs the 422
        with server.client() as client:
            assert "ohlol_trainings 0.0" in client.get("/metrics").text


def test_the_page_is_shown_in_both_languages(browser: Any, server: ServerProcess) -> None:
    with open_checked_page(browser, server, locale="zh-CN") as shown:
        assert shown.page.evaluate("document.documentElement.lang") == "zh-CN"
        wait_for_labels(shown, "hello")
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
                    assert texts.text(key, lang) in body, key
                    assert texts.text(key, other) not in body, key
                shown.page.locator("#tab-train").click()
            shown.page.locator("#tab-try").click()
            shown.page.locator("#explain").click()
            shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_works_in_every_theme_and_width(browser: Any, server: ServerProcess, theme: str, width: int) -> None:
    with open_checked_page(browser, server, viewport={"width": width, "height": 800}, color_scheme=theme) as shown:
        for name in ("hello", "upper", "text", "names", "sine"):
            shown.page.locator("#models").select_option(name)
            if name != "sine":
                shown.page.locator("#typed").fill("eh" * 30 if name == "hello" else "abe the cat")
                wait_until(shown, "!connection.isBusy && !wholeText.isBusy")
        shown.page.locator("#models").select_option("hello")
        wait_for_labels(shown, "hello")
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        assert_fits(shown)
        shown.page.locator("#tab-train").click()
        shown.page.locator("#epoch-count").fill("3")
        shown.page.locator("#start").click()
        shown.page.wait_for_selector("#open-training:not([hidden])")
        assert_fits(shown)
        before = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown.page.locator("#theme-button").click()
        assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        assert_fits(shown)


def assert_fits(shown: Shown) -> None:
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    body = shown.page.inner_text("body")
    assert "undefined" not in body
    assert "NaN" not in body


@pytest.mark.slow
def test_page_asks_for_the_key(browser: Any, runs: dict[str, Path]) -> None:
    with ServerProcess([str(runs["hello"])], environment={"OHLOL_API_KEY": KEY}) as server:
        shown = open_page(browser, server)
        shown.page.wait_for_selector("#key-form:not([hidden])")
        assert not shown.page.locator("#typed").is_visible()
        shown.page.locator("#key").fill("wrong")
        shown.page.locator("#key-form button").click()
        wait_until(shown, "document.getElementById('key-error').textContent !== ''")
        shown.page.locator("#key").fill(KEY)
        shown.page.locator("#key-form button").click()
        assert wait_for_labels(shown, "hello")[1] == list("ohlol")
        assert not shown.page.locator("#key-form").is_visible()
        shown.page.locator("#explain").click()
        shown.page.wait_for_selector("#trace-view:not([hidden]) #network svg")
        shown.page.close()


@pytest.mark.slow
def test_symbols_are_not_executed(browser: Any, tmp_path: Path) -> None:
    """A model whose symbols and labels are markup and scripts."""
    run = tmp_path / "bad"
    ohlol.fit([(list(HOSTILE), list(HOSTILE[::-1]))] * 2, out=run, epochs=5)
    with ServerProcess([str(run)]) as server, open_checked_page(browser, server) as shown:
        policy = shown.page.locator("meta[http-equiv]").get_attribute("content")
        assert "default-src 'none'" in policy
        assert "script-src 'sha256-" in policy
        for text in (" ".join(HOSTILE), HOSTILE[3], HOSTILE[4]):
            shown.page.locator("#typed").fill(text)
            wait_until(shown, "!connection.isBusy && document.querySelector('#typed-labels .label')")
            assert set(shown.texts("#typed-labels .label")) & set(HOSTILE)
        shown.page.locator("#explain").click()
        wait_until(shown, "trace || document.getElementById('error').textContent")
        shown.page.wait_for_timeout(300)
        assert shown.page.title() == "ohlol"
        assert shown.page.locator("img").count() == 0


def test_reference_is_shown(browser: Any, server: ServerProcess) -> None:
    shown = open_page(browser, server, "/docs")
    shown.page.wait_for_selector("#operations-models-predict_v1_models__name__predict_post", timeout=SLOW)
    assert all(url.startswith((server.url, "data:")) for url in shown.asked), shown.asked
    assert not shown.errors, shown.errors
    shown.close(alone=False)
