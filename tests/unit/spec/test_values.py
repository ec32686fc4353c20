"""What `wardian config` shows, and what it hides."""

from wardian.spec.load import Source, load
from wardian.spec.values import Value, values

FILE = """\
[project]
name = "x"
[images.train]
from = "debian"
index = ["https://m:secret1@x.org/simple"]
[images.train.tests]
a = "true"
[run]
env = { A = "${HOME}", MY_TOKEN = "secret2", TOKENIZERS_PARALLELISM = "false" }
env-pass = ["WANDB_API_KEY"]
[substitutes]
"docker.io/*" = "https://me:secret3@lab/x"
"""


def shown(text: str = FILE, **variables: str) -> dict[str, Value]:
    return {value.path: value for value in values(load([Source("wardian.toml", text)], variables))}


def test_each_value_with_its_place() -> None:
    found = shown(FILE.replace("m:secret1@", ""), HOME="/root")
    assert found["project.name"] == Value("project.name", "x", "wardian.toml", 2)
    assert found["run.env-pass"] == Value("run.env-pass", ["WANDB_API_KEY"], "wardian.toml", 10)
    assert found["images.train.tests.a"].value == "true"
    assert found["run.gpus"] == Value("run.gpus", "auto", "default")


def test_defaults_that_say_nothing_are_left_out() -> None:
    found = shown(FILE.replace("m:secret1@", ""), HOME="/root")
    assert not {"images.train.apt", "images.train.workdir", "mounts", "images.train.tests.a.timeout"} & set(found)
    assert {"images.train.tags", "images.train.platform", "run.shm"} <= set(found)


def test_what_looks_like_a_secret_is_hidden_and_a_variable_is_not_filled_in() -> None:
    found = shown(FILE.replace("m:secret1@", ""), HOME="/root/secret4")
    assert "secret" not in "".join(str(value) for value in found.values())
    assert found["run.env.A"].value == "${HOME}"
    assert found["run.env.MY_TOKEN"].value == "(hidden)"
    assert found["run.env.TOKENIZERS_PARALLELISM"].value == "false"
    assert found['substitutes."docker.io/*"'].value == "https://***@lab/x"


def test_a_value_prints_as_json() -> None:
    assert str(Value("a", ["ü", 1], "x")) == '["ü", 1]'
