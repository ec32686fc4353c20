"""The puffer template's scripts, as far as they go without torch: the run folder and the command line."""

import importlib.util
import json
import os
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import wardian

TRAINING = Path(wardian.__file__).parent / "templates" / "puffer" / "training"


def load(name: str) -> ModuleType:
    """A script of the template, as its own directory sees it."""
    spec = importlib.util.spec_from_file_location(name, TRAINING / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder() -> Iterator[Any]:
    yield load("run_folder")
    sys.modules.pop("run_folder", None)


@pytest.fixture
def script(folder: Any) -> Iterator[Any]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield load("train_puffer")
    sys.modules.pop("train_puffer", None)
    for number, handler in before.items():
        signal.signal(number, handler)


def written(path: Path) -> Any:
    return json.loads((path / "metadata.json").read_text())


def test_a_new_run_says_that_it_is_running(folder: Any, tmp_path: Path) -> None:
    folder.RunFolder(tmp_path / "run", {"seed": 1})

    assert json.loads((tmp_path / "run/config.json").read_text()) == {"seed": 1}
    assert written(tmp_path / "run")["status"] == "running"
    assert "ended" not in written(tmp_path / "run")


def test_metadata_names_the_versions_and_says_which_are_absent(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder.RunFolder, "packages", ("pytest", "no-such-distribution"))

    folder.RunFolder(tmp_path, {})

    assert written(tmp_path)["versions"]["pytest"] == pytest.__version__
    assert written(tmp_path)["versions"]["no-such-distribution"] == "absent"


def test_metadata_holds_the_image_when_it_is_given(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_IMAGE", "sha256:1234")

    folder.RunFolder(tmp_path, {})

    assert written(tmp_path)["image"] == "sha256:1234"
    assert "run" not in written(tmp_path)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_an_ended_run_says_how_and_when(folder: Any, tmp_path: Path, status: str) -> None:
    run = folder.RunFolder(tmp_path, {})

    run.status(status, updates=3)

    assert written(tmp_path)["status"] == status
    assert written(tmp_path)["updates"] == 3
    assert written(tmp_path)["ended"].endswith("Z")


def test_metrics_hold_no_clock(folder: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder.RunFolder(tmp_path / name, {}).record({"update": 1, "mean_return": 2.5})

    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert set(json.loads((tmp_path / "a/timing.jsonl").read_text())) == {"update", "seconds"}


def test_a_second_run_does_not_write_over_the_first(folder: Any, tmp_path: Path) -> None:
    folder.RunFolder(tmp_path, {}).record({"update": 1, "mean_return": 2.5})

    with pytest.raises(folder.RunFolderError, match=r"--resume.*--overwrite.*--run-dir"):
        folder.RunFolder(tmp_path, {})

    assert (tmp_path / "metrics.jsonl").exists()


def test_overwrite_begins_again(folder: Any, tmp_path: Path) -> None:
    run = folder.RunFolder(tmp_path, {"seed": 1})
    run.record({"update": 1, "mean_return": 2.5})
    run.checkpoint(1, lambda path: path.write_bytes(b"weights"))

    again = folder.RunFolder(tmp_path, {"seed": 2}, fresh=True)

    assert not (tmp_path / "metrics.jsonl").exists()
    assert again.latest() is None
    assert list(again.checkpoints.iterdir()) == []


def test_resume_goes_on_from_the_last_whole_checkpoint(folder: Any, tmp_path: Path) -> None:
    run = folder.RunFolder(tmp_path, {"seed": 1})
    for update in (1, 2, 3):
        run.record({"update": update, "mean_return": float(update)})
    run.checkpoint(2, lambda path: path.write_bytes(b"weights"))

    again = folder.RunFolder(tmp_path, {"seed": 1}, resume=True)

    assert again.latest().name == "update-000002.pt"
    assert again.returns(until=2) == [1.0, 2.0]
    assert [json.loads(line)["update"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_resume_drops_a_line_that_was_cut(folder: Any, tmp_path: Path) -> None:
    run = folder.RunFolder(tmp_path, {})
    run.record({"update": 1, "mean_return": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 2, "mean_')

    assert run.returns(until=5) == [1.0]


def test_resume_of_nothing_is_refused(folder: Any, tmp_path: Path) -> None:
    with pytest.raises(folder.RunFolderError, match="holds no run"):
        folder.RunFolder(tmp_path, {}, resume=True)


def test_resume_with_another_config_names_what_differs(folder: Any, tmp_path: Path) -> None:
    folder.RunFolder(tmp_path, {"seed": 1, "env": "CartPole-v1", "timesteps": 10})

    with pytest.raises(folder.RunFolderError, match="another env, seed;"):
        folder.RunFolder(tmp_path, {"seed": 2, "env": "Acrobot-v1", "timesteps": 20}, resume=True)


def test_resume_may_ask_for_more_steps(folder: Any, tmp_path: Path) -> None:
    folder.RunFolder(tmp_path, {"timesteps": 10})

    folder.RunFolder(tmp_path, {"timesteps": 20}, resume=True)

    assert json.loads((tmp_path / "config.json").read_text()) == {"timesteps": 20}


def test_a_checkpoint_that_failed_is_not_the_latest(folder: Any, tmp_path: Path) -> None:
    run = folder.RunFolder(tmp_path, {})
    run.checkpoint(1, lambda path: path.write_bytes(b"whole"))

    def cut(path: Path) -> None:
        path.write_bytes(b"ha")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        run.checkpoint(2, cut)

    assert run.latest().read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("values", "count", "mean"), [([], 5, 0.0), ([4.0], 5, 4.0), ([100.0, 1.0, 3.0], 2, 2.0), ([1.0, 2.0, 3.0], 3, 2.0)]
)
def test_recent(folder: Any, values: list[float], count: int, mean: float) -> None:
    assert folder.recent(values, count) == mean


def test_the_command_line_of_the_document(script: Any) -> None:
    given = script.options(["--trainer-backend", "puffer_ppo"])

    assert (given.trainer_backend, given.env, given.timesteps) == ("puffer_ppo", "CartPole-v1", 200_000)
    assert given.run_dir == Path("results/puffer_ppo-CartPole-v1-0")


def test_the_run_folder_of_a_namespaced_environment_is_one_folder(script: Any) -> None:
    assert script.options(["--env", "ALE/Pong-v5"]).run_dir == Path("results/puffer_ppo-ALE-Pong-v5-0")


@pytest.mark.parametrize(
    "argv",
    [
        ["--trainer-backend", "sb3"],
        ["--timesteps", "10"],
        ["--timesteps", "many"],
        ["--trainer-backend", "random", "--resume"],
        ["--unknown"],
    ],
)
def test_wrong_arguments_end_with_2(script: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script.options(argv)

    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_the_configuration_holds_what_decides_the_result(script: Any) -> None:
    given = script.options(["--seed", "7", "--run-dir", "x", "--expect", "150"])

    config = script.configuration(given, "cpu")

    assert (config["seed"], config["device"], config["optimizer"]) == (7, "cpu", "adam")
    assert not {"run_dir", "expect", "resume"} & set(config)
    json.dumps(config)


def test_the_baseline_has_no_training_settings(script: Any) -> None:
    config = script.configuration(script.options(["--trainer-backend", "random"]), "cpu")

    assert "learning_rate" not in config


def test_batches_divide(script: Any) -> None:
    assert script.SHAPE["batch_size"] % script.SHAPE["minibatch_size"] == 0
    assert script.SHAPE["minibatch_size"] % script.SHAPE["bptt_horizon"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered(script: Any, number: signal.Signals) -> None:
    stopper = script.Stopper()
    assert stopper.number == 0

    os.kill(os.getpid(), number)

    assert stopper.number == number


def test_the_first_signal_counts(script: Any) -> None:
    stopper = script.Stopper()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)

    assert stopper.number == signal.SIGTERM


def test_tracking_without_the_key_says_so(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)

    with pytest.raises(script.RunFolderError, match="WANDB_API_KEY did not reach"):
        script.tracker("project", script.RunFolder(tmp_path, {}))


def test_tracking_without_the_package_says_so(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setitem(sys.modules, "wandb", None)

    with pytest.raises(script.RunFolderError, match="wandb is not in this image"):
        script.tracker("project", script.RunFolder(tmp_path, {}))


def test_no_tracking_unless_asked(script: Any, tmp_path: Path) -> None:
    assert script.tracker(None, script.RunFolder(tmp_path, {})) is None


class Player:
    """Stands in for a backend: the given episode returns, update by update; ``at`` is called before each."""

    def __init__(self, returns: list[list[float]], at: Callable[[int], None] = lambda _: None) -> None:
        self._returns, self._at = returns, at
        self.first, self.closed = 1, False

    def updates(self) -> Iterator[dict[str, Any]]:
        """The rows from where ``load`` left off."""
        for update in range(self.first, len(self._returns) + 1):
            self._at(update)
            yield {"update": update, "steps": update * 2048, "returns": self._returns[update - 1], "entropy": 0.5}

    def save(self, path: Path) -> None:
        """Remember where we are, by the file's own name."""
        path.write_bytes(b"weights")

    def load(self, path: Path) -> None:
        """Go on after the checkpoint."""
        self.first = int(path.stem.removeprefix("update-")) + 1

    def close(self) -> None:
        """Note that the end was reached."""
        self.closed = True


def trained(script: Any, monkeypatch: pytest.MonkeyPatch, path: Path, player: Player, *argv: str) -> int:
    backends = SimpleNamespace(device_of=lambda _: "cpu", backend=lambda _: player)
    monkeypatch.setitem(sys.modules, "backends", backends)
    try:
        code: int = script.main(["--run-dir", str(path), *argv])
    finally:
        assert player.closed or player.first == 1
    return code


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_folder_that_is_taken_ends_with_2_and_a_line(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.RunFolder(tmp_path, {})

    assert trained(script, monkeypatch, tmp_path, Player([])) == 2
    assert "holds a run" in capsys.readouterr().err


def test_a_run_that_reaches_what_was_expected_ends_with_0(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = trained(script, monkeypatch, tmp_path / "r", Player([[10.0], [200.0, 100.0]]), "--expect", "80")

    assert code == 0
    assert written(tmp_path / "r")["status"] == "finished"
    assert written(tmp_path / "r")["final_return"] == 80.0


def test_a_run_that_does_not_learn_ends_with_1(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert trained(script, monkeypatch, tmp_path / "r", Player([[10.0]]), "--expect", "80") == 1
    assert written(tmp_path / "r")["status"] == "failed"


def test_an_update_without_an_ended_episode_keeps_the_last_return(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained(script, monkeypatch, tmp_path / "r", Player([[], [30.0], []]))

    assert [(row["mean_return"], row["episodes"]) for row in rows(tmp_path / "r")] == [(0.0, 0), (30.0, 1), (30.0, 0)]


def test_checkpoints_are_written_now_and_then_and_at_the_end(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained(script, monkeypatch, tmp_path, Player([[1.0]] * 5), "--checkpoint-every", "2")

    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("update-*"))
    assert names == ["update-000002.pt", "update-000004.pt", "update-000005.pt"]


def test_a_terminated_run_is_interrupted_with_a_checkpoint_and_goes_on(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kill(update: int) -> None:
        if update == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    returns = [[float(at)] for at in range(5)]

    assert trained(script, monkeypatch, tmp_path, Player(returns, kill)) == 143
    assert (written(tmp_path)["status"], written(tmp_path)["updates"]) == ("interrupted", 2)
    assert trained(script, monkeypatch, tmp_path, Player(returns), "--resume") == 0
    assert [row["update"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert written(tmp_path)["status"] == "finished"


def test_a_crash_is_recorded_and_still_a_crash(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def crash(update: int) -> None:
        if update == 2:
            raise FloatingPointError("nan in the policy")

    with pytest.raises(FloatingPointError):
        trained(script, monkeypatch, tmp_path / "r", Player([[1.0], [1.0]], crash))

    assert written(tmp_path / "r")["status"] == "failed"
    assert written(tmp_path / "r")["error"] == "FloatingPointError: nan in the policy"


def test_every_direct_requirement_is_pinned_exactly() -> None:
    lines = (TRAINING.parent / "requirements.txt").read_text().splitlines()

    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_the_tag_is_a_template_of_the_lock() -> None:
    image = tomllib.loads((TRAINING.parent / "wardian.toml").read_text())["images"]["rl-puffer-base"]

    assert image["tags"] == ["py{python:nodot}-puffercore{version:pufferlib-core}"]
