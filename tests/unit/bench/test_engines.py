"""The table of the engines' bench: each of our figures beside the peers that it is to be compared with."""

from engines import report


def test_an_engine_is_compared_with_its_own_peer() -> None:
    rows, text = report(
        {
            ("one", "time", "wardian→docker"): [1.0, 3.0, 2.0],
            ("one", "time", "docker+uv"): [20.0],
            ("one", "time", "wardian→podman"): [4.0],
            ("one", "time", "podman+uv"): [8.0],
        }
    )

    assert [(row.ours, row.peer, row.peer_name, row.ratio) for row in rows] == [
        (2.0, 20.0, "docker+uv", 0.1),
        (4.0, 8.0, "podman+uv", 0.5),
    ]
    assert "1/10.0" in text


def test_one_figure_of_ours_is_compared_with_every_peer() -> None:
    rows, _ = report(
        {
            ("push", "bytes", "wardian"): [1.0],
            ("push", "bytes", "docker+uv"): [3.0],
            ("push", "bytes", "podman+uv"): [4.0],
        }
    )

    assert [(row.peer_name, row.peer) for row in rows] == [("docker+uv", 3.0), ("podman+uv", 4.0)]


def test_what_nobody_else_does_has_no_peer() -> None:
    rows, text = report({("load", "time", "wardian→docker"): [1.5]})

    assert [(row.ours, row.peer, row.ratio) for row in rows] == [(1.5, None, None)]
    assert "no peer" in text
