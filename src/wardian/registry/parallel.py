"""Several blobs at once."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait

from wardian.oci.model import Descriptor
from wardian.registry.progress import Advance

WORKERS = 6  # as many as skopeo


def each_blob(
    blobs: Sequence[Descriptor], work: Callable[[Descriptor, Advance], object], advance: Advance | None
) -> None:
    """Work on blobs, six at a time, the big ones first. A failure (or Ctrl-C) ends all; what moved stays."""
    stop = threading.Event()

    def step(count: float) -> None:
        if stop.is_set():
            raise CancelledError
        if advance:
            advance(count)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="blob") as pool:
        started = [pool.submit(work, blob, step) for blob in sorted(blobs, key=lambda blob: -blob.size)]
        try:
            done, _ = wait(started, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
