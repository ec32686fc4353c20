"""The ignore file is read as docker reads it; secrets stay out whatever it says."""

import pytest

from wardian.builders import ignore
from wardian.builders.ignore import Ignore, listed, secret

# Cases of moby/patternmatcher's own tests, and of docker's documentation of .dockerignore.
CASES = [
    ("**", "file", True),
    ("**", "dir/file", True),
    ("**/", "dir/file", True),
    ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir", False),
    ("**/dir", "dir", True),
    ("**/dir", "deep/dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/**", "dir/dir2/dir2/file", True),
    ("**file", "dir/file", True),
    ("**/file", "file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt", "a/file.txt", True),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[^b-d]e", "aze", True),
    ("a[^b-d]e", "ace", False),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("abc.def", "abc.def", True),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("foo", "foo/bar", True),
    ("foo", "deep/foo", False),
    ("/foo", "foo", True),
    ("foo/", "foo/bar", True),
    ("./foo", "foo", True),
    ("a/../foo", "foo", True),
    ("*", "anything/deep", True),
    ("*/temp*", "dir/temporary", True),
    ("*/*/temp*", "dir/temporary", False),
    ("temp?", "tempa", True),
    ("# comment", "# comment", False),
    ("", "file", False),
    (".", "file", False),
    ("файл", "файл", True),
]


@pytest.mark.parametrize(("pattern", "path", "out"), CASES)
def test_a_pattern_is_dockers(pattern: str, path: str, *, out: bool) -> None:
    assert Ignore.parse(pattern).ignores(path) is out


def test_the_last_line_that_matches_wins() -> None:
    rules = Ignore.parse("*.md\n!README*.md\nREADME-secret.md\n")
    assert [rules.ignores(name) for name in ("a.md", "README.md", "README-secret.md")] == [True, False, True]
    assert rules.takes_back


def test_a_file_can_be_taken_back_from_a_folder() -> None:
    rules = Ignore.parse("*\n!src\nsrc/generated\n")
    assert [rules.ignores(path) for path in ("a", "src/a", "src/generated/b")] == [True, False, True]


def test_a_line_that_is_no_pattern_is_named() -> None:
    with pytest.raises(ValueError, match=r"line 2: 'a\[b' is no pattern"):
        Ignore.parse("fine\na[b\n")


def test_a_mark_at_the_start_and_spaces_do_not_count() -> None:
    assert Ignore.parse("\ufeff  foo  \r\n").ignores("foo")


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".envrc", ".netrc", ".pypirc", ".git-credentials", ".ssh", ".aws", ".docker"),
        *("id_rsa", "id_ed25519", "id_rsa.old", "credentials", "credentials.json", "wardian.local.toml"),
    ],
)
def test_secrets_are_known_by_name(name: str) -> None:
    assert secret(name, lambda _: b"")


@pytest.mark.parametrize("name", ["env", "environment.yml", "credentials.py", "id.py", "README.md", "certs.pem"])
def test_other_names_are_not_secrets(name: str) -> None:
    assert not secret(name, lambda _: b"-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize("name", ["server.pem", "server.key", "a.p8"])
@pytest.mark.parametrize("kind", [b"", b"RSA ", b"EC ", b"ENCRYPTED ", b"OPENSSH "])
def test_private_keys_are_known_by_content(name: str, kind: bytes) -> None:
    assert secret(name, lambda _: b"x\n-----BEGIN " + kind + b"PRIVATE KEY-----\n")


def test_what_tools_leave_is_noise_and_repositories_are_internal() -> None:
    assert all(map(ignore.noise, ("__pycache__", "a.pyc", ".venv", ".DS_Store")))
    assert all(map(ignore.internal, (".git", ".wardian", ".hg")))
    assert not ignore.noise("src")


def test_a_list_is_short() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(6))) == "0, 1, 2, 3 and 2 more"
