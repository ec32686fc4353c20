"""Image references in other people's files: each is found, nothing else is touched, what is unclear is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.plan.newer import newer
from wardian.plan.pin import Pin, is_variable, kind_of, means, places, replaced, tag_of, written

DIGEST = f"sha256:{7:064x}"
OLD = f"acme/five:5@sha256:{0:064x}"
DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM ghcr.io/acme/base:1 AS build
# FROM commented:1
RUN cat <<EOF && echo $((1<<n))
FROM inside:1
EOF
COPY --from=build /a /b
COPY --from=0 /a /b
COPY --chown=1:1 --from=tools.example/x:2 \\
  # between

  /a /b
from	scratch
FROM build
FROM \\
  debian
RUN echo FROM nothing:1
"""
COMPOSE = """\
services:
  one: &one
    image: 'acme/one:1'  # why
  two:
    image: "acme/two"
  three:
    build: .
    image: acme/three:own
  four:
    <<: *one
    image: ${FOUR:-acme/four}
  five: {image: acme/five:5@sha256:0000000000000000000000000000000000000000000000000000000000000000}
x-image: acme/no:1
"""
GITHUB = """\
on: push
jobs:
  a:
    container: acme/a:1
    steps:
      - uses: actions/checkout@v4
      - uses: docker://acme/tool:2
  b:
    container:
      image: acme/b:1
      options: --gpus all
    services:
      db: {image: 'postgres:16'}
  c:
    container: ${{ matrix.image }}
"""
GITLAB = """\
image: acme/a:1
default:
  image:
    name: acme/b:1
    entrypoint: ['']
test:
  image: acme/c
  services:
    - postgres:16
    - name: redis:7
      alias: r
  script: [echo image: x]
other:
  script:
    - !reference [test, script]
"""
TOML = """\
[project]
name = "p"
# from = "acme/a:1"
[images.a]
from = "acme/a:1"  # the base
run = ["echo from = x"]
[images.b]
"from" = 'acme/b'
[images.c]
from = "@a"
[images.d]
from = "bootstrap:debian:bookworm"
[images.e]
from = "acme/a:1"
[images.f]
from = "acme/cuda:{cuda}"
matrix = { cuda = ["12.4"] }
"""
CASES = {
    "dockerfile": (DOCKERFILE, ["ghcr.io/acme/base:1", "tools.example/x:2", "debian"]),
    "compose": (
        COMPOSE,
        [
            "acme/one:1",
            "acme/two",
            "${FOUR:-acme/four}",
            "acme/five:5@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ],
    ),
    "github": (GITHUB, ["acme/a:1", "acme/tool:2", "acme/b:1", "postgres:16", "${{ matrix.image }}"]),
    "gitlab": (GITLAB, ["acme/a:1", "acme/b:1", "acme/c", "postgres:16", "redis:7"]),
    "toml": (TOML, ["acme/a:1", "acme/b", "acme/a:1", "acme/cuda:{cuda}"]),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_image_is_found_and_only_those(kind: str, end: str) -> None:
    text, wanted = CASES[kind]
    text = text.replace("\n", end)
    found = places(text, kind)
    assert [place.text for place in found] == wanted
    for place in found:
        assert text[place.start : place.end] == place.text
        assert place.text in text.split("\n")[place.line - 1]


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_references_change_and_twice_changes_nothing(kind: str, end: str) -> None:
    text, _ = CASES[kind]
    text = text.replace("\n", end)

    def pinned(source: str) -> str:
        pins = [
            Pin(place, None if is_variable(place) else written(place.text, tag_of(place.text) or "latest", DIGEST))
            for place in places(source, kind)
        ]
        return replaced(source, kind, pins)

    once = pinned(text)
    assert pinned(once) == once
    before = [place.text for place in places(text, kind)]
    back = once
    for place, old in reversed(list(zip(places(once, kind), before, strict=True))):
        back = back[: place.start] + old + back[place.end :]
    assert back == text
    assert once.count(DIGEST) == len([place for place in places(text, kind) if not is_variable(place)])


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("dockerfile", "", "it has no FROM"),
        ("dockerfile", "RUN x\n", "it has no FROM"),
        ("dockerfile", "FROM\n", "no FROM that can be read"),
        ("dockerfile", "FROM a b\n", "no FROM that can be read"),
        ("dockerfile", "FROM a\n??\n", "is no instruction"),
        ("dockerfile", "FROM a\nRUN <<EOF\nFROM b\n", "never ends"),
        ("compose", "a: [", "not YAML: line 1"),
        ("compose", "- a\n", "not a mapping"),
        ("compose", "jobs: {}\n", "not a compose file"),
        ("compose", 'services: {a: {image: "acme/\\x61:1"}}\n', "cannot be edited"),
        ("github", "services: {}\n", "not a workflow"),
        ("toml", "a = ", "not TOML"),
        ("toml", '[images.a]\n"fr\\u006fm" = "acme/a:1"\n', "cannot tell where"),
    ],
)
def test_what_cannot_be_read_is_refused(kind: str, text: str, words: str) -> None:
    with pytest.raises(WardianError, match=words):
        places(text, kind)


def test_another_escape_is_obeyed() -> None:
    text = "# escape=`\nFROM `\n  debian:1\nRUN dir c:\\\nFROM other:2\n"
    assert [place.text for place in places(text, "dockerfile")] == ["debian:1", "other:2"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Dockerfile", "dockerfile"),
        ("a/Containerfile", "dockerfile"),
        ("train.Dockerfile", "dockerfile"),
        ("Dockerfile.dev", "dockerfile"),
        ("compose.yaml", "compose"),
        ("docker-compose.override.yml", "compose"),
        (".github/workflows/x.yaml", "github"),
        ("/r/.github/workflows/compose.yml", "github"),
        ("action.yml", "github"),
        (".gitlab-ci.yml", "gitlab"),
        ("wardian.toml", "toml"),
    ],
)
def test_files_are_known_by_their_names(path: str, kind: str) -> None:
    assert kind_of(path) == kind


@pytest.mark.parametrize("path", ["readme.md", "values.yaml", "Makefile"])
def test_other_files_are_refused(path: str) -> None:
    with pytest.raises(WardianError, match="no file that images are used in"):
        kind_of(path)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("debian", "latest"),
        ("debian:12", "12"),
        ("localhost:5000/a", "latest"),
        ("localhost:5000/a:1", "1"),
        (f"a:1@{DIGEST}", "1"),
        (f"a@{DIGEST}", None),
    ],
)
def test_tags_are_read(text: str, tag: str | None) -> None:
    assert tag_of(text) == tag
    assert written(text, "9", DIGEST) == f"{text.partition('@')[0].removesuffix(f':{tag}')}:9@{DIGEST}"


def test_a_repository_is_known_however_it_is_written() -> None:
    place = places("FROM debian:12\n", "dockerfile")[0]
    assert means(place, "docker.io/library/debian")
    assert means(place, None)
    assert not means(place, "ghcr.io/debian")
    assert not means(places("FROM $X\n", "dockerfile")[0], "debian")


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    for kind in CASES:
        try:
            found = places(text, kind)
        except WardianError:
            continue
        assert all(text[place.start : place.end] == place.text for place in found)


@pytest.mark.parametrize(
    ("tag", "tags", "found"),
    [
        ("12.4.1", ["12.4.0", "12.6.0", "12.10.1", "12.6", "13.0.0-rc", "latest"], ["12.6.0", "12.10.1"]),
        ("v1", ["v2", "2", "v3-slim"], ["v2"]),
        ("py3.11-cu124", ["py3.12-cu124", "py3.12-cu126"], ["py3.12-cu124"]),
        ("nightly-20261120", ["nightly-20261119", "nightly-20261121"], ["nightly-20261121"]),
        ("latest", ["1"], []),
        ("2", [], []),
    ],
)
def test_newer_tags_are_of_the_same_pattern(tag: str, tags: list[str], found: list[str]) -> None:
    assert newer(tag, tags) == found
