"""Checkpoints: all that changes comes back, nothing but plain values, whole or not at all."""

import copy

import pytest
import torch

from rtpe.errors import UserError


def flat(tree, name=""):
    """Every leaf of nested dicts and lists, by its place."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {place: leaf for key, part in items for place, leaf in flat(part, f"{name}/{key}").items()}
    return {name: tree}


def contents(state):
    parts = {name: getattr(state, name).state_dict() for name in ("net", "ema", "optimizer")}
    return flat(
        copy.deepcopy({**parts, **{n: getattr(state, n) for n in ("epoch", "batch", "step", "seconds", "best")}})
    )


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


@pytest.fixture
def trained(fresh, run):
    """After three steps, in the middle of an epoch."""
    made = run(killed_after=3, name="trained")
    state = fresh()
    with pytest.raises(KeyboardInterrupt):
        made.go(state)
    state.best, state.settings = 0.25, {"net": {"kind": "student", "size": 64}, "loss": {"sigmas": [1.5]}}
    return state


def test_everything_comes_back(fresh, new_student, trained, tmp_path):
    """Into other weights, another moment: net, average, optimiser, place, time, best score."""
    trained.save(tmp_path / "last.pt")
    other = fresh(new_student(seed=9))
    torch.manual_seed(123)
    other.restore(tmp_path / "last.pt")
    assert_equal(contents(other), contents(trained))
    assert (other.epoch, other.batch, other.step, other.best) == (1, 1, 3, 0.25) and other.seconds > 0
    assert any("exp_avg_sq" in name for name in contents(other))


def test_random_numbers_go_on(fresh, trained, tmp_path):
    """A net with dropout would else differ after a resume."""
    trained.save(tmp_path / "last.pt")
    want = torch.rand(3)
    other = fresh()
    torch.rand(7)
    other.restore(tmp_path / "last.pt")
    assert torch.equal(torch.rand(3), want)


def test_a_checkpoint_holds_plain_values(trained, tmp_path):
    """Nothing in it can run code, and anything that reads torch files can look inside."""
    trained.save(tmp_path / "last.pt")
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert {type(leaf) for leaf in flat(saved).values()} <= {torch.Tensor, int, float, str, bool, type(None)}
    assert saved["settings"] == trained.settings
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["last.pt"]


@pytest.mark.parametrize("part", ["net", "ema", "optimizer", "rng"])
def test_a_bit_of_a_tensor_that_flips_is_seen(fresh, trained, tmp_path, part):
    """Which torch does not see: the last byte of the largest, in the file as it lies."""
    path = tmp_path / "last.pt"
    trained.save(path)
    tensors = [leaf for leaf in flat(torch.load(path, weights_only=True)[part]).values() if torch.is_tensor(leaf)]
    largest = (
        max(tensors, key=lambda tensor: tensor.nbytes).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )
    data = bytearray(path.read_bytes())
    place = data.find(largest) + len(largest) - 1
    assert place >= len(largest)
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"last.pt: cannot be resumed \(damaged: its digest does not match\): choose"):
        fresh().restore(path)


def test_tensors_that_changed_places_are_seen(fresh, trained, tmp_path):
    """Of equal shapes: the average in the place of the net."""
    path = tmp_path / "last.pt"
    trained.save(path)
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "net": saved["ema"], "ema": saved["net"]}, path)
    with pytest.raises(UserError, match="its digest does not match"):
        fresh().restore(path)


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "text", "weights only", "other net", "other width"])
def test_what_cannot_be_resumed_is_one_line(fresh, new_student, trained, tmp_path, damage):
    """Never a traceback of torch, and a remedy."""
    path, state = tmp_path / "last.pt", fresh()
    trained.save(path)
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "text"):
        path.write_bytes(b"hello" if damage == "text" else b"")
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "weights only":
        torch.save(state.net.state_dict(), path)
    else:
        state = fresh(new_student(**({"stages": 2} if damage == "other net" else {"width": 64})))
    with pytest.raises(
        ValueError, match=r"checkpoint .*last\.pt: cannot be resumed \(.+\): choose another --out"
    ) as told:
        state.restore(path)
    assert "\n" not in str(told.value)
