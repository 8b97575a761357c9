"""A file format added by one module: recognized, trained on, evaluated, predicted and encoded."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import registered

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.corpus.encode import encode
from ohlol.data.lines import Lines
from ohlol.data.readers.base import READERS, infer_reader, register
from ohlol.inference.output import make_writer
from ohlol.utils.errors import InputError

RULES = "; a comment\nthe cat sat => D N V\na dog => D N\n" * 15
TINY: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 8,
    "char_rnn_size": 0,
    "lr": 0.02,
    "batch_size": 8,
    "seed": 1,
}
HERE = Path(__file__).with_name("toy_reader.py")


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with registered("toy_reader", READERS):
        yield


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "words.rules"
    path.write_text(RULES)
    return path


def test_a_file_is_recognized_and_the_reason_is_given(rules: Path) -> None:
    reader, confidence = infer_reader(Lines(rules), DataSettings())
    assert reader is READERS["rules"]
    assert confidence.reason == "its first line has an arrow"
    settings = sequences.read(rules).settings
    assert settings == DataSettings(task="label", format="rules", level="word")


def test_other_files_are_still_recognized(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("ab\tAB\n")
    (tmp_path / "text.txt").write_text("To be, or not to be\n")
    assert sequences.read(tmp_path / "pairs.tsv").settings.format == "pairs"
    assert sequences.read(tmp_path / "text.txt").settings.format == "text"


def test_train_evaluate_and_predict(rules: Path, tmp_path: Path) -> None:
    ohlol.fit(rules, out=tmp_path / "run", epochs=30, dev_fraction=0.0, **TINY)
    model = ohlol.load(tmp_path / "run")
    assert model.config.data.format == "rules"
    assert model.evaluate(rules).metrics()["accuracy"] == 1.0
    assert model.predict("the dog sat").labels == ["D", "N", "V"]
    (tmp_path / "inputs.txt").write_text("a cat sat\n")
    corpus = sequences.read(tmp_path / "inputs.txt", model.config.data, with_targets=False)
    prediction = next(iter(model.predict_many(corpus)))
    assert make_writer(model, "plain")(prediction) == "D N V"


def test_resume(rules: Path, tmp_path: Path) -> None:
    ohlol.fit(rules, out=tmp_path / "run", epochs=2, **TINY)
    assert ohlol.fit(out=tmp_path / "run", resume=True).config.data.format == "rules"


def test_errors_name_file_and_line(rules: Path) -> None:
    rules.write_text(RULES + "one => A B\n")
    with pytest.raises(InputError, match=r"words\.rules:46: 1 words and 2 labels; a rule has as many of both"):
        sequences.read(rules)
    with pytest.raises(InputError, match="format rules has the level word; for level char use segment"):
        sequences.read(rules, DataSettings(format="rules", level="char"))


@pytest.mark.slow
def test_encode_in_several_processes(rules: Path, tmp_path: Path) -> None:
    """The plan names the module of the reader, so that each process imports and registers it."""
    program = (
        "import sys; from pathlib import Path; import toy_reader\n"
        "from ohlol.config import DataSettings; from ohlol.data.corpus.encode import encode\n"
        "if __name__ == '__main__':\n"
        "    encode([sys.argv[1]], Path(sys.argv[2]), DataSettings(), jobs=2, piece=100)\n"
    )
    (tmp_path / "program.py").write_text(program)
    environment = {"PYTHONPATH": str(HERE.parent)}
    subprocess.run(
        [sys.executable, tmp_path / "program.py", rules, tmp_path / "two"], check=True, env=environment, timeout=300
    )
    one = encode([str(rules)], tmp_path / "one", DataSettings(), jobs=1, piece=100)
    assert len(one.manifest.shards) > 2
    for path in sorted((tmp_path / "one").rglob("*.npy")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="the format 'rules' is registered already"):
        register(type(READERS["rules"])())
