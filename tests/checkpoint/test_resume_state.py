"""The saved state: a resumed run ends with the same bytes as an uninterrupted one, and an invalid state is refused."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TASKS, Recorder, bytes_of, prepared, upper_pairs
from safetensors.torch import save_file

import ohlol
from ohlol.checkpoint import resume_state
from ohlol.checkpoint.resume_state import STATES
from ohlol.checkpoint.weights import read_tensors
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError


def assert_same_state(one: Path, two: Path) -> None:
    """The saved states of two runs are equal."""
    (tensors, position), (others, place) = resume_state.load_state(one), resume_state.load_state(two)
    assert position == place
    assert set(tensors) == set(others)
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


class Killed(Exception):  # noqa: N818 - it stands for a signal
    """Raised in place of a kill of the process."""


def stop(at: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        if step == at:
            recorder.trainer.stop()

    return act


def kill(at: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, step: int) -> None:
        if step == at:
            raise Killed

    return act


@pytest.mark.parametrize("kind", TASKS)
def test_an_interrupted_run_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    data, settings = prepared(kind, tmp_path)
    whole = Recorder()
    ohlol.fit(data, out=tmp_path / "whole", callbacks=[whole], **settings)
    wanted = bytes_of(tmp_path / "whole")
    assert whole.trainer is not None
    an_epoch = len(whole.trainer.batches(0))
    assert an_epoch > 2  # or nothing would be stopped within an epoch
    ends = [(stop, at) for at in (1, an_epoch - 1, an_epoch, an_epoch + 2)]
    ends += [(kill, at) for at in (1, an_epoch + 1, 2 * an_epoch + 2)]
    for end, at in ends:
        out = tmp_path / f"{end.__name__}{at}"
        with pytest.raises((Interrupted, Killed)):
            ohlol.fit(data, out=out, callbacks=[Recorder(end(at))], **settings)
        rest = Recorder()
        ohlol.fit(out=out, resume=True, callbacks=[rest])
        found = bytes_of(out)
        for name in ("model.safetensors", "metrics.jsonl", "config.json"):
            assert found[name] == wanted[name], (end.__name__, at, name)
        assert_same_state(out, tmp_path / "whole")
        assert rest.steps < whole.steps or (end is kill and at == 1)


def test_a_run_can_be_stopped_again_and_again(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    out, resume, stops = tmp_path / "run", False, 0
    while True:
        try:
            source = None if resume else data
            given = {} if resume else settings
            ohlol.fit(source, out=out, resume=resume, callbacks=[Recorder(stop(5))], **given)
            break
        except Interrupted:
            resume, stops = True, stops + 1
    assert stops > 3
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_states_are_saved_within_an_epoch(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(kill(4))], checkpoint_every="0s", **settings)
    rest = Recorder()
    ohlol.fit(out=tmp_path / "run", resume=True, callbacks=[rest])
    assert rest.trainer is not None
    assert rest.steps == 3 * len(rest.trainer.batches(0)) - 3
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    data, settings = prepared("classify", tmp_path)
    ohlol.fit(data, out=tmp_path / "run", **settings)
    before = bytes_of(tmp_path / "run")
    rest = Recorder()
    ohlol.fit(out=tmp_path / "run", resume=True, callbacks=[rest])
    assert rest.steps == 0
    assert bytes_of(tmp_path / "run") == before


def test_resume_reads_pairs_from_the_configuration(tmp_path: Path) -> None:
    pairs = [("abc", "cab"), ("ca", "bb")]
    ohlol.fit(pairs, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        ohlol.fit(pairs, out=tmp_path / "run", callbacks=[Recorder(stop(7))])
    ohlol.fit(out=tmp_path / "run", resume=True)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resume_keeps_its_settings_and_its_data(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        ohlol.fit(data, out=out, callbacks=[Recorder(stop(3))], **settings)
    before = bytes_of(out)
    with pytest.raises(InputError, match=r"was started with `lr` 0.002, not 0.5; `resume` keeps it"):
        ohlol.fit(out=out, resume=True, lr=0.5)
    with pytest.raises(InputError, match="was started with `hidden_size` 6, not 7"):
        ohlol.fit(out=out, resume=True, hidden_size=7)
    with pytest.raises(InputError, match="was started with `format` pairs, not conll"):
        ohlol.fit(out=out, resume=True, format="conll")
    with pytest.raises(InputError, match="was started with other data"):
        ohlol.fit(upper_pairs(tmp_path / "more.tsv", lines=30), out=out, resume=True)
    with pytest.raises(InputError, match="needs `out`"):
        ohlol.fit(resume=True)
    assert bytes_of(out) == before
    ohlol.fit(data, out=out, resume=True, **settings)


def test_nothing_draws_from_the_generators_that_are_not_saved(tmp_path: Path) -> None:
    """A state has torch's generator only, since nothing depends on those of Python and numpy."""
    data, settings = prepared("label", tmp_path)
    runs = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        before = str(np.random.get_state())
        ohlol.fit(data, out=tmp_path / f"run{seed}", **settings)
        assert str(np.random.get_state()) == before  # Python's own is moved by beartype, which checks types in tests
        runs.append(bytes_of(tmp_path / f"run{seed}"))
    for name in ("model.safetensors", "metrics.jsonl", "resume/last.safetensors"):
        assert runs[0][name] == runs[1][name]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


@pytest.mark.parametrize("damage", [cut, noise, Path.unlink])
def test_damaged_states_are_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run = tmp_path / "run"
    ohlol.fit(out=run, epochs=2)
    for state in STATES:
        damage(run / "resume" / f"{state}.safetensors")
    before = bytes_of(run)
    with pytest.raises(InputError) as refused:
        ohlol.fit(out=run, resume=True)
    assert str(run) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert bytes_of(run) == before


def test_a_state_without_its_position_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ohlol.fit(out=run, epochs=2)
    path = run / "resume" / "last.safetensors"
    tensors, _ = read_tensors(path)
    (run / "resume" / "before.safetensors").unlink()
    position = '{"format": 2, "position": %s}'
    for wrong in ("[", "3", "{}", position % 3, position % '{"nonsense": 1}', position % "{}", None):
        save_file(tensors, path, {"state": wrong} if wrong is not None else None)
        with pytest.raises(InputError) as refused:
            ohlol.fit(out=run, resume=True)
        assert str(refused.value).startswith(str(run / "resume")), wrong
    save_file(tensors, path, {"state": '{"format": 7, "position": {}}'})
    with pytest.raises(InputError, match="has format 7"):
        ohlol.fit(out=run, resume=True)
