"""Where uv is."""

from wardian.errors import Unavailable


def program() -> str:
    """The path of uv, which comes with Wardian."""
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        raise Unavailable(
            "uv, which Wardian installs beside itself, is gone", hint="type: pip install --force-reinstall uv"
        ) from error
