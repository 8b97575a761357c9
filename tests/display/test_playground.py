"""The playground: its numbers are those of torch and of `ohlol.fit`, and its page works in a browser."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Shown
from helpers import TINY, Recorder, names_file, sets_file, sine_file, text_file, upper_pairs

import ohlol
from ohlol.cells import CELLS, torch_cells
from ohlol.cli import main
from ohlol.display import playground
from ohlol.display.playground import render_page
from ohlol.inference.trained_model import TrainedModel

TOLERANCE = 1e-6
"""Of losses in float64 from those in float32; a float32 number between 4 and 8 is known to 2.4e-7."""
EPOCHS = 20
SLOW = 120
"""Seconds to wait for the page, since the machine may be busy."""
TWO_PAIRS = [("hello", "ohlol"), ("ole", "leo")]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("playground") / "page.html"
    with pytest.raises(SystemExit) as ended:
        main(["playground", "-o", str(path)])
    assert ended.value.code == 0
    return path


@pytest.fixture(scope="module")
def shown(browser: Any, page_file: Path) -> Iterator[Shown]:
    """A page for the tests that only call its functions."""
    shown = Shown(browser, page_file, locale="en-US")
    yield shown
    shown.close()


def open_page(browser: Any, page_file: Path, **options: Any) -> Shown:
    return Shown(browser, page_file, **{"locale": "en-US", **options})


def wait_until(shown: Shown, condition: str) -> None:
    """Wait for a condition in the page. Playwright's own function needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + SLOW
    while not shown.page.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        shown.page.wait_for_timeout(20)


def train_fast(shown: Shown, epochs: int = EPOCHS) -> None:
    """Press the button and wait for the last epoch."""
    shown.page.locator("#speed").fill("5")
    shown.page.locator("#train").click()
    wait_until(shown, f"panels.every((panel) => panel.training.epoch === {epochs}) && !timer")


def fit_history(pairs: Any = None, **settings: Any) -> list[tuple[list[str], float]]:
    """The predicted strings and the loss of each epoch of `ohlol.fit`."""
    recorder = Recorder()
    ohlol.fit(pairs, callbacks=[recorder], **settings)
    return [(["".join(labels) for labels in epoch.predictions], epoch.loss) for epoch in recorder.epochs]


# --- the numbers


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_random_numbers_are_those_of_torch(shown: Shown, seed: int) -> None:
    """Bit for bit, over more numbers than the generator makes at once."""
    torch.manual_seed(seed)
    expected = torch.cat([torch.empty(7).uniform_(-0.37, 0.37), torch.empty(1500).uniform_(0, 1)])
    found = shown.page.evaluate(
        "seed => { const g = new Generator(seed);"
        " return [...g.uniformBetween(-0.37, 0.37, 7), ...g.uniformBetween(0, 1, 1500)] }",
        seed,
    )
    assert found == expected.double().tolist()


def test_the_cells_are_those_of_the_package(shown: Shown) -> None:
    found = shown.page.evaluate(
        "Object.fromEntries(Object.entries(CELLS).map(([name, cell]) => [name, [cell.states,"
        " cell.parameters.map(({ name, gates }) => [name, gates])]]))"
    )
    assert set(found) <= set(CELLS)
    assert {spec.name for spec in CELLS.values() if spec.torch_layer is not None} <= set(found)
    for name, (states, parameters) in found.items():
        spec = CELLS[name]
        assert tuple(states) == spec.states
        if spec.torch_layer is not None:
            assert [parameter for parameter, _ in parameters] == ["W_ih", "W_hh", "b_ih", "b_hh"]
            assert all(tuple(gates) == spec.symbols for _, gates in parameters)


def test_gradients_equal_differences_of_the_loss(shown: Shown) -> None:
    """Of every cell and a linear layer, in float64, over two pairs of unequal lengths."""
    largest = shown.page.evaluate(
        """pairs => Object.keys(CELLS).map((cell) => {
          const settings = { cell, reduction: "mean", hasHead: true, hiddenSize: 3, seed: 4, lr: 0.1 };
          const training = new Training(settings, pairs);
          const gradients = training.parameters.map(({ tensor }) => [...tensor.slope]);
          let largest = 0;
          training.parameters.forEach(({ tensor }, p) => gradients[p].forEach((gradient, k) => {
            const value = tensor.values[k];
            const [high, low] = [1e-5, -1e-5].map((change) => {
              tensor.values[k] = value + change;
              training.evaluate();
              return training.loss;
            });
            tensor.values[k] = value;
            largest = Math.max(largest, Math.abs((high - low) / 2e-5 - gradient));
          }));
          return [cell, largest, Math.max(...gradients.flat().map(Math.abs))];
        })""",
        TWO_PAIRS,
    )
    for cell, difference, gradient in largest:
        assert difference < 1e-9, cell
        assert gradient > 0.01, cell


def test_the_losses_of_ten_seeds_are_those_of_the_package(browser: Any, page_file: Path) -> None:
    """The layer with the mean beside the cell in a loop with the sum, trained by the buttons of the page."""
    shown = open_page(browser, page_file)
    shown.page.locator("#two-cells").check()
    shown.page.locator("#cell-B").select_option("rnn")
    shown.page.locator("#reduction-B").select_option("sum")
    for seed in range(10):
        for panel in "AB":
            shown.page.locator(f"#seed-{panel}").fill(str(seed))
            shown.page.locator(f"#seed-{panel}").press("Enter")
        train_fast(shown)
        for panel, loop in (("A", False), ("B", True)):
            expected = fit_history(seed=seed, loop=loop)
            rows = f"[data-panel='{panel}'] .history tbody"
            losses = shown.page.evaluate(
                "rows => [...document.querySelectorAll(rows + ' .loss')].map((one) => +one.title)", rows
            )
            assert losses == pytest.approx([loss for _, loss in expected], rel=0, abs=TOLERANCE)
            predicted = shown.page.evaluate(
                "rows => [...document.querySelectorAll(rows + ' .predicted')].map((one) => one.textContent)", rows
            )
            assert predicted == [texts[0] for texts, _ in expected]
    shown.close()


SLOW_CELLS = ("rnn_relu", "ugrnn", "mingru", "reset_gru", "coupled_lstm", "peephole_lstm")


@pytest.mark.parametrize(
    "cell",
    [
        *(spec.name for spec in torch_cells()),
        "mgu",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CELLS),
    ],
)
def test_other_settings_equal_those_of_the_package(shown: Shown, cell: str) -> None:
    """Every cell with a linear layer, over two pairs."""
    settings = {"cell": cell, "reduction": "mean", "hasHead": True, "hiddenSize": 5, "seed": 2, "lr": 0.05}
    found = shown.page.evaluate(
        "([settings, pairs, epochs]) => { const training = new Training(settings, pairs);"
        " for (let k = 0; k < epochs; k++) training.step(); return training.history }",
        [settings, TWO_PAIRS, EPOCHS],
    )
    expected = fit_history(TWO_PAIRS, cell=cell, head="softmax", hidden_size=5, seed=2, lr=0.05)
    assert [epoch["loss"] for epoch in found] == pytest.approx([loss for _, loss in expected], rel=0, abs=TOLERANCE)
    assert [epoch["predicted"] for epoch in found] == [texts for texts, _ in expected]


def test_the_command_trains_the_same(browser: Any, page_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = open_page(browser, page_file)
    shown.page.locator("#pairs").fill("it's si't\n\nabc bca")
    shown.page.locator("#epochs").fill("3")
    shown.page.locator("#cell-A").select_option("gru")
    shown.page.locator("#reduction-A").select_option("sum")
    shown.page.locator("#head-A").select_option("linear")
    shown.page.locator("#hidden_size-A").fill("6")
    shown.page.locator("#hidden_size-A").press("Enter")
    train_fast(shown, 3)
    command = shown.page.locator(".command code").inner_text()
    losses = shown.exact(".history tbody .loss")
    shown.close()
    import shlex

    with pytest.raises(SystemExit):
        main(shlex.split(command)[1:])
    printed = [float(loss) for loss in re.findall(r"Epoch \[\d/3\] loss = ([\d.]+)", capsys.readouterr().out)]
    assert printed == pytest.approx(losses, abs=6e-5)
    assert len(printed) == 3


# --- the page


def test_the_page_loads_nothing(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href|@import|fetch|XMLHttpRequest|WebSocket)\b\s*[=(]", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", html)
    assert len(html.encode()) < 200_000


def layer_by_torch(weights: dict[str, list[float]]) -> tuple[list[str], float, list[list[float]]]:
    """Predicted labels, loss and hidden states of hello -> ohlol by torch's RNN with the weights of the page."""
    layer = torch.nn.RNN(4, 4).double()
    names = {"weight_ih_l0": "W_ih", "weight_hh_l0": "W_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.tensor(weights[names[name]], dtype=torch.float64).view_as(parameter))
        x = torch.eye(4, dtype=torch.float64)[["ehlo".index(c) for c in "hello"]]
        hidden = layer(x)[0]
        loss = torch.nn.functional.cross_entropy(hidden, torch.tensor(["ehlo".index(c) for c in "ohlol"]))
    return ["ehlo"[i] for i in hidden.argmax(1)], loss.item(), hidden.T.tolist()


READ_WEIGHTS = "Object.fromEntries(panels[0].training.parameters.map(({ name, tensor }) => [name, [...tensor.values]]))"


def check_numbers(shown: Shown) -> None:
    """Check that what the page shows is what torch computes with its weights."""
    labels, loss, hidden = layer_by_torch(shown.page.evaluate(READ_WEIGHTS))
    assert shown.page.locator(".now .predicted").inner_text() == "".join(labels)
    assert shown.exact(".now .loss") == pytest.approx([loss], abs=1e-12)
    assert shown.exact(".steps td[title]")[:20] == pytest.approx(np.ravel(hidden).tolist(), abs=1e-12)
    assert shown.texts(".steps [data-row=predicted] td") == labels


def test_a_weight_is_changed_by_hand(browser: Any, page_file: Path) -> None:
    shown = open_page(browser, page_file)
    for _ in range(4):
        shown.page.locator("#one-epoch").click()
    check_numbers(shown)
    before = shown.page.evaluate(READ_WEIGHTS)
    shown.page.locator("[aria-label='weight W_hh[h2, 1]']").click()
    assert shown.page.locator(".editor b").inner_text() == "W_hh[h2, 1]"
    shown.page.locator("#weight-A").fill("2.5")
    after = shown.page.evaluate(READ_WEIGHTS)
    changed = [(n, k) for n, values in before.items() for k, v in enumerate(values) if after[n][k] != v]
    assert changed == [("W_hh", 9)]
    assert after["W_hh"][9] == 2.5
    check_numbers(shown)
    old, new = layer_by_torch(before), layer_by_torch(after)
    text = shown.page.locator(".comparison").inner_text()
    assert text.startswith(f"before {''.join(old[0])} {old[1]:.4f} → now {''.join(new[0])} {new[1]:.4f}.")
    assert old[0] != new[0]
    outlined = shown.page.locator(".steps td.changed").count()
    assert 0 < outlined < 40
    assert f"{outlined} of the numbers" in text
    shown.page.locator(".editor button").click()
    assert shown.page.evaluate(READ_WEIGHTS) == before
    assert shown.page.locator("td.changed").count() == 0
    check_numbers(shown)
    shown.page.locator(".editor input[type=range]").fill("-1.25")
    check_numbers(shown)
    loss = shown.exact(".now .loss")
    shown.page.locator("#one-epoch").click()
    assert shown.exact(".history tbody .loss")[-1:] == loss  # the training goes on from the changed weight
    assert shown.texts(".history tbody td:first-child") == ["1", "2", "3", "4", "5 ✎"]
    check_numbers(shown)
    shown.close()


def test_training_is_slowed_stopped_and_restarted(browser: Any, page_file: Path) -> None:
    shown = open_page(browser, page_file)
    shown.page.locator("#speed").fill("0")  # an epoch in two seconds
    assert shown.page.locator("#speed-label").inner_text() == "0.5 epochs per second"
    shown.page.locator("#train").click()
    assert shown.page.locator("#train").inner_text() == "Stop"
    assert shown.page.evaluate("panels[0].training.epoch") == 0
    wait_until(shown, "panels[0].training.epoch === 1")
    shown.page.locator("#train").click()
    assert shown.page.locator("#train").inner_text() == "Train"
    first = shown.exact(".history tbody .loss")
    assert len(first) == 1
    train_fast(shown)
    assert shown.page.locator(".curve path").last.get_attribute("d").count("L") == EPOCHS
    shown.page.locator("#restart").click()
    assert shown.exact(".now .loss") == first
    assert shown.page.locator(".history tbody tr").count() == 0
    shown.close()


def test_every_control_is_reached_with_the_keyboard(browser: Any, page_file: Path) -> None:
    shown = open_page(browser, page_file)
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Tab")
    reached: list[str] = []
    describe = "(e => e === document.body ? '' : e.id || `${e.tagName} ${e.getAttribute('aria-label')}`)"
    for _ in range(60):
        name = shown.page.evaluate(f"{describe}(document.activeElement)")
        if not name or name in reached:
            break
        reached.append(name)
        style = shown.page.evaluate(
            "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
        )
        assert style[0] != "none", name
        assert style[1] >= 2, name
        shown.page.keyboard.press("Tab")
    expected = {"theme", "pairs", "lr", "epochs", "two-cells", "train", "one-epoch", "restart", "speed", "cell-A",
                "reduction-A", "head-A", "seed-A", "weight-A", "INPUT weight W_ih[h0, e]", "TD weight W_ih[h0, e]",
                "TD weight W_hh[h0, 0]", "TD weight b_ih[h0]", "TD weight b_hh[h0]"}  # fmt: skip
    assert expected <= set(reached)
    shown.page.locator("#one-epoch").focus()
    shown.page.keyboard.press("Enter")
    assert shown.page.evaluate("panels[0].training.epoch") == 1
    shown.page.locator("#cell-A").focus()
    shown.page.keyboard.press("g")
    wait_until(shown, "panels[0].settings.cell === 'gru'")
    assert shown.page.evaluate("document.activeElement.id") == "cell-A"
    shown.page.locator("[role=grid]").nth(1).locator("[tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowRight"):
        shown.page.keyboard.press(key)
    value = shown.page.evaluate("panels[0].training.weights.W_hh.values[9]")
    shown.page.keyboard.press("+")
    assert shown.page.locator(".editor b").inner_text() == "W_hh[r2, 1]"
    assert shown.page.evaluate("panels[0].training.weights.W_hh.values[9]") == pytest.approx(value + 0.1, abs=1e-12)
    shown.page.keyboard.press("Enter")
    assert shown.page.evaluate("document.activeElement.id") == "weight-A"
    shown.page.keyboard.type("0.25")
    assert shown.page.evaluate("panels[0].training.weights.W_hh.values[9]") == 0.25
    shown.close()


def test_both_languages(browser: Any, page_file: Path, tmp_path: Path) -> None:
    shown = open_page(browser, page_file, locale="zh-CN")
    texts = shown.page.evaluate("TEXTS")
    assert set(texts) == {"en", "zh"}
    assert texts["en"].keys() == texts["zh"].keys()
    for key, text in texts["en"].items():
        placeholders = re.findall(r"\{\w+\}", text)
        assert sorted(placeholders) == sorted(re.findall(r"\{\w+\}", texts["zh"][key])), key
    assert shown.page.evaluate("document.documentElement.lang") == "zh-CN"
    assert shown.page.locator("#train").inner_text() == "训练"
    shown.page.locator("#one-epoch").click()
    losses = shown.exact(".loss[title]")
    visible = shown.page.locator("body").inner_text()
    for phrase in ("learning rate", "Each step", "hidden state", "weight", "predicted"):
        assert phrase not in visible
    shown.page.locator("#lang").select_option("en")
    assert shown.page.locator("#train").inner_text() == "Train"
    assert shown.exact(".loss[title]") == losses  # the training is the same
    assert not re.search(r"[\u4e00-\u9fff]", shown.page.locator("main").last.inner_text())
    shown.close()
    chosen = tmp_path / "page.html"
    chosen.write_text(render_page(lang="zh"), encoding="utf-8")
    shown = open_page(browser, chosen)
    assert shown.page.locator("#train").inner_text() == "训练"
    shown.close()


def test_phone_width_and_themes(browser: Any, page_file: Path) -> None:
    shown = open_page(browser, page_file, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert shown.page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.page.locator("#two-cells").check()
    shown.page.locator("#cell-B").select_option("lstm")
    shown.page.locator("#head-B").select_option("linear")
    assert shown.page.evaluate("document.documentElement.scrollWidth") == 360
    tables = shown.page.locator(".panel").first.locator(".scroll:has(.steps)")
    assert tables.evaluate("e => e.scrollWidth - e.clientWidth") == 0  # five steps fit
    shown.page.locator("#theme").click()
    assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    shown.close()


def test_wrong_input_is_named(browser: Any, page_file: Path) -> None:
    shown = open_page(browser, page_file)
    for text, message in (
        ("hello", "Line 1 must have an input and a target"),
        ("hello ohlol\nab abc", "Line 2: “ab” has 2 symbols and “abc” has 3"),
        ("", "Give 1 to 8 pairs."),
        ("a b\n" * 9, "Give 1 to 8 pairs."),
        (f"{'a' * 25} {'b' * 25}", "Line 1: an input has 24 symbols at most."),
        ("abcdefghijklm nopqrstuvwxyz", "The pairs have 26 different symbols; 24 are possible."),
    ):
        shown.page.locator("#pairs").fill(text)
        shown.page.locator("#lr").focus()  # leaves the field
        assert shown.page.locator("#error").inner_text().startswith(message)
        assert shown.page.locator("#train").is_disabled()
    shown.page.locator("#epochs").fill("5")
    shown.page.locator("#epochs").press("Enter")
    assert shown.page.locator("#error").inner_text().startswith(message)  # still
    shown.page.locator("#seed-A").fill("1.5")
    shown.page.locator("#seed-A").press("Enter")
    shown.page.locator("#pairs").fill("<b>&xy 你好😀e\u0301</")
    shown.page.locator("#lr").fill("0")
    shown.page.locator("#lr").press("Enter")
    assert shown.page.locator("#error").inner_text() == "learning rate must be a number from 0.0001 to 10."
    shown.page.locator("#lr").fill("10")
    shown.page.locator("#lr").press("Enter")
    assert shown.page.locator("#error").inner_text() == "seed must be a number from 0 to 4294967295."
    shown.page.locator("#seed-A").fill("7")
    shown.page.locator("#seed-A").press("Enter")
    assert shown.page.locator("#error").inner_text() == ""
    assert shown.page.evaluate("panels[0].training.symbols.join('')") == "".join(sorted(set("<b>&xy你好😀é</")))
    shown.page.locator("#cell-A").select_option("rnn_relu")
    shown.page.locator("#lr").fill("0.1")
    shown.page.locator("#lr").press("Enter")
    shown.page.locator("#one-epoch").click()
    for index in range(3):
        shown.page.locator("[role=grid] td").nth(index).click()
        shown.page.locator("#weight-A").fill("1e308")  # limited
    assert shown.page.evaluate("Number.isFinite(panels[0].training.loss)")
    shown.close()


# --- a trained run


def read_in_page(browser: Any, model: TrainedModel, path: Path, texts: list[str]) -> list[Any]:
    """The labels with their probabilities that the page shows for texts, and a continuation."""
    path.write_text(render_page(model), encoding="utf-8")
    shown = open_page(browser, path)
    results = []
    for text in texts:
        shown.page.locator("#typed").fill(text)
        assert shown.page.locator("#run-error").inner_text() == ""
        results.append(shown.page.evaluate("trainedRun.reading.predictions"))
        labels = shown.texts("#run-labels .label")
        last = results[-1][-1]
        assert len(labels) == min(8, len(last))
        assert shown.exact("#run-labels .mono:nth-child(4n)") == [one["probability"] for one in last[: len(labels)]]
    shown.close()
    return results


ONE_WAY = {**TINY, "bidirectional": False, "bigram_size": 0}
RUNS: dict[str, dict[str, Any]] = {
    "label": {**TINY, "cell": "lstm"},  # in both directions, with bigrams
    "one_hot": {"embedding_size": 0, "hidden_size": 6, "epochs": 1, "cell": "rnn_relu", "bidirectional": False},
    "deep": {**ONE_WAY, "cell": "gru", "num_layers": 2, "bidirectional": True},
}


@pytest.mark.parametrize("name", RUNS)
def test_labels_are_those_of_the_run(browser: Any, tmp_path: Path, name: str) -> None:
    settings = RUNS[name]
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **{"bigram_size": 0} | settings)
    texts = ["abcde", "ee", "d", "aXb"] if model.codec.symbols.unk is not None else ["abcde", "ee", "d"]
    for text, steps in zip(texts, read_in_page(browser, model, tmp_path / "page.html", texts), strict=True):
        expected = model.predict(text, n_best=20).best
        for found, step in zip(steps, expected, strict=True):
            assert {one["label"]: one["probability"] for one in found} == pytest.approx(dict(step), abs=1e-5)


def test_the_default_run_of_labels_is_read(tmp_path: Path, browser: Any) -> None:
    """With bigrams, as trained without settings."""
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), hidden_size=5, epochs=1)
    assert model.codec.bigrams is not None
    (steps,) = read_in_page(browser, model, tmp_path / "page.html", ["badec"])
    expected = model.predict("badec", n_best=20).best
    for found, step in zip(steps, expected, strict=True):
        assert {one["label"]: one["probability"] for one in found} == pytest.approx(dict(step), abs=1e-5)


@pytest.mark.parametrize(
    "pooling", ["last", "attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mean", "max"))]
)
def test_classes_are_those_of_the_run(browser: Any, tmp_path: Path, pooling: str) -> None:
    names = names_file(tmp_path / "names.csv")
    model = ohlol.fit(names, input="name", target="kind", pooling=pooling, **{**TINY, "epochs": 2})
    texts = ["bello", "anna", "m"]
    for text, steps in zip(texts, read_in_page(browser, model, tmp_path / "page.html", texts), strict=True):
        (found,), expected = steps, dict(model.predict(text, n_best=2).best[0])
        assert {one["label"]: one["probability"] for one in found} == pytest.approx(expected, abs=1e-5)


def test_a_language_model_continues_the_text(browser: Any, tmp_path: Path) -> None:
    model = ohlol.fit(text_file(tmp_path / "text.txt"), **{**ONE_WAY, "num_layers": 2, "bptt": 16})
    path = tmp_path / "page.html"
    (steps,) = read_in_page(browser, model, path, ["the cat"])
    stream = model.stream()
    for symbol, found in zip("the cat", steps, strict=True):
        logits = np.asarray(stream.step(symbol).logits)
        for one in found:
            expected = logits[model.codec.labels.find(one["label"])]
            assert one["logit"] == pytest.approx(float(expected), abs=1e-5)
    shown = open_page(browser, path)
    shown.page.locator("#typed").fill("the c")
    shown.page.locator("#continue").click()
    first = shown.page.locator("#continued").text_content()
    shown.page.locator("#continue").click()
    second = shown.page.locator("#continued").text_content()
    assert len(first) == len(second) == len("the c") + 60
    assert first != second
    assert set(first) <= set(model.codec.labels.symbols)
    # what is drawn one by one is read as the text is read
    found = shown.page.evaluate(
        """(text => {
          const network = new TrainedNetwork(data.run);
          const rest = network.runLayers(network.encode([...text.slice(3)]), network.read(text.slice(0, 3)).after);
          return [network.read(text).predictions.at(-1), network.predict(rest.outputs.at(-1))]
            .map((labels) => labels.map(({ logit }) => logit));
        })('the cat')"""
    )
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    shown.page.locator("#typed").fill("t")
    shown.page.locator("#typed").press_sequentially("he sat")  # each is read from where the text before it ended
    typed = shown.page.evaluate("trainedRun.reading.predictions.map((labels) => labels.map(({ logit }) => logit))")
    read = "new TrainedNetwork(data.run).read('the sat').predictions.map((labels) => labels.map(({ logit }) => logit))"
    assert typed == shown.page.evaluate(read)
    shown.page.locator("#typed").fill("thX")
    assert shown.page.locator("#run-error").inner_text() == ""  # read as <unk>
    shown.close()


def test_a_run_is_typed_into_with_the_keyboard(browser: Any, tmp_path: Path) -> None:
    run, path = tmp_path / "hello", tmp_path / "page.html"
    model = ohlol.fit([("hello", "ohlol")], seed=1, out=run)
    with pytest.raises(SystemExit) as ended:
        main(["playground", str(run), "-o", str(path), "--lang", "en"])
    assert ended.value.code == 0
    shown = open_page(browser, path, viewport={"width": 360, "height": 740}, locale="zh-CN")
    assert shown.page.locator("#run-title").inner_text() == "Your run hello"
    assert shown.page.locator("#typed").input_value() == "hello"
    assert shown.texts("#run-tiles .tile-label:nth-child(2)") == list("ohlol")
    shown.page.locator("#run-tiles").focus()
    shown.page.keyboard.press("Home")
    shown.page.keyboard.press("ArrowRight")
    expected = [label for label, _ in model.predict("hello", n_best=4).best[1]]
    assert shown.texts("#run-labels .label") == expected
    assert shown.page.locator("#run-selected").inner_text() == "after he"
    shown.page.locator("#typed").focus()
    shown.page.keyboard.press("Control+a")
    shown.page.keyboard.type("help")
    assert (
        shown.page.locator("#run-error").inner_text().startswith("“p” was not in the training data. Symbols: e h l o")
    )
    shown.page.locator("#lang").select_option("zh")
    assert shown.page.locator("#run-error").inner_text().startswith("训练数据中没有“p”")
    assert shown.page.evaluate("document.documentElement.scrollWidth") == 360
    shown.page.locator("#one-epoch").click()  # the training is below it
    assert shown.page.evaluate("panels[0].training.epoch") == 1
    shown.close()


def test_hostile_symbols_do_not_become_markup(browser: Any, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=document.title='run'>"
    model = ohlol.fit([(hostile, hostile)], epochs=1)
    html = render_page(model)
    assert html.count("<script") == html.count("</script>") == 2
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    shown = open_page(browser, tmp_path / "page.html")
    assert shown.page.locator("#run img").count() == 0
    assert shown.page.title().startswith("ohlol")
    shown.close()


def refusal(model: TrainedModel) -> str:
    with pytest.raises(ohlol.InputError) as error:
        render_page(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_runs_that_the_page_cannot_compute_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, names, text = upper_pairs(tmp_path / "p.tsv"), names_file(tmp_path / "n.csv"), text_file(tmp_path / "t.txt")
    quick = {**ONE_WAY, "epochs": 1}
    assert "by characters" in refusal(ohlol.fit(sine_file(tmp_path / "s.csv"), task="next_row", epochs=1))
    assert "by characters" in refusal(ohlol.fit(text, level="word", **quick))
    assert "from its end" in refusal(ohlol.fit(text, reversed=True, **quick))
    assert "the cell is mgu" in refusal(ohlol.fit(pairs, cell="mgu", **quick))
    assert "the head is crf" in refusal(ohlol.fit(pairs, head="crf", **quick))
    sets = ohlol.fit(sets_file(tmp_path / "sets.jsonl"), task="multilabel", input="name", target="letters", **quick)
    assert "the task is multilabel" in refusal(sets)
    model = ohlol.fit(names, input="name", target="kind", **quick)
    monkeypatch.setattr(playground, "MAX_BYTES", 1000)
    assert refusal(model).endswith("a page holds 0 MiB at most: train with a smaller `hidden_size`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "page.txt"], "page.txt: the name of a page must end in .html, .htm"),
        (["missing"], "missing: there is no such run directory; `ohlol train` makes one"),
        (["--lang", "fr"], "--lang is 'fr'; it must be one of en, zh"),
    ],
)
def test_wrong_arguments(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["playground", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"ohlol: {message}\n"
    assert not list(tmp_path.iterdir())


def test_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["playground"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "written: playground.html\n"
    html = (tmp_path / "playground.html").read_text(encoding="utf-8")
    content = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert content is not None
    assert json.loads(content[1])["lang"] is None
