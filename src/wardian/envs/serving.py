"""A server's processes: one, or several that share a port, each with its own sessions.

A session's number tells its process (``number % workers``). A request that arrives in another one is handed on over a
Unix socket; so any client may use any connection for any of its sessions.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import click

from wardian.envs.api import Api, Data, Reply
from wardian.envs.app import App
from wardian.envs.drivers import make
from wardian.envs.sessions import Limits, Sessions
from wardian.errors import Unavailable, WardianError

_DRAIN = 5  # seconds a request that is being answered has when the server ends
_GENERATION = 1 << 40  # numbers of a process that took another's place begin here: none is given twice


@dataclass(frozen=True, slots=True)
class Server:
    """What is to be served, and where. ``token``: what clients have to show; None: nothing."""

    env: str
    host: str
    port: int
    limits: Limits
    workers: int = 1
    token: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # of the environment


@dataclass(frozen=True, slots=True)
class Place:
    """Which process of a server: its number, and how many had that number before."""

    server: Server
    listening: socket.socket
    folder: Path  # of the sockets between the processes
    worker: int = 0
    generation: int = 0


def serve(server: Server, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. ``ready`` is called with the URL once all processes answer.

    Raises ``Unavailable`` for an address that cannot be had, and whatever making the environment raises.
    """
    listening = _listen(server.host, server.port)
    host = f"[{server.host}]" if ":" in server.host else server.host
    url = f"http://{host}:{listening.getsockname()[1]}"
    with listening, tempfile.TemporaryDirectory(prefix="env-peers-") as folder:
        if server.workers > 1:  # what cannot be made is said once, and by this process
            make(server.env, server.options).close()
        run = _work if server.workers == 1 else _supervise
        stuck = run(Place(server, listening, Path(folder)), lambda: ready(url))
    if stuck:
        os._exit(0)  # Python would wait for the threads


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}", hint="choose another with --port"
        ) from error
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def _work(place: Place, ready: Callable[[], None]) -> int:
    """Be one process of the server, until a signal; how many of its threads never come back."""
    import uvicorn

    server, worker = place.server, place.worker
    environment = make(server.env, server.options, agentgym=server.limits.mode == "agentgym")
    count = server.workers
    room = server.limits.max_sessions // count + (worker < server.limits.max_sessions % count)
    first = worker + place.generation * _GENERATION * count
    sessions = Sessions(environment, server.limits, first=first, stride=count, room=room)
    peers = Mesh(place.folder, worker, count) if count > 1 else None
    api = Api(sessions, worker=worker, workers=count, peers=peers)
    app = App(api, token=server.token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=server.limits.max_body,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_DRAIN,
        timeout_keep_alive=75,
        server_header=False,
        date_header=False,
    )

    class Running(uvicorn.Server):
        """One that is told of signals by us, and so ends with exit code 0."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Begin to end at the first SIGTERM or SIGINT; at once at the second."""
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

    async def run() -> None:
        running = Running(config)
        answering = await peers.listen(app) if peers else None

        async def tell() -> None:
            while not running.started:
                await asyncio.sleep(0.005)
            ready()

        telling = asyncio.create_task(tell())
        try:
            await running.serve(sockets=[place.listening])
        finally:
            telling.cancel()
            if answering is not None:
                answering.close()

    _loop()(run())
    return sessions.stuck


def _loop() -> Callable[[Any], Any]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


class Mesh:
    """How the processes of a server ask one another: a line of JSON each way, over sockets in a folder of their own."""

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        self._folder, self._worker, self._workers = folder, worker, workers
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    def others(self) -> list[int]:
        """All but this process."""
        return [at for at in range(self._workers) if at != self._worker]

    async def ask(self, worker: int, path: str, data: Data) -> Reply:
        """Have another process handle a request; 410 when it is gone."""
        line = json.dumps([path, data]).encode() + b"\n"
        for fresh in (False, True):  # a connection that lay idle may be to a process that ended
            try:
                reader, writer = await self._connection(worker, fresh=fresh)
                writer.write(line)
                answer = await reader.readline()
            except OSError:
                continue
            if answer.endswith(b"\n"):
                self._idle.setdefault(worker, []).append((reader, writer))
                status, value, retry = json.loads(answer)
                return Reply(status, value, retry)
            writer.close()
            if fresh:
                break
        return Reply(410, {"error": "the process that had this session is gone"})

    async def _connection(self, worker: int, *, fresh: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = self._idle.get(worker)
        if idle and not fresh:
            return idle.pop()
        return await asyncio.open_unix_connection(str(self._folder / str(worker)), limit=1 << 28)

    async def listen(self, app: App) -> asyncio.AbstractServer:
        """Answer what the others ask."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                while line := await reader.readline():
                    path, data = json.loads(line)
                    if path == "/state":
                        reply = Reply(200, await app.state())
                    else:
                        reply = await app.api.call(path, data, mine=True)
                    writer.write(json.dumps([reply.status, reply.value, reply.retry]).encode() + b"\n")
                    await writer.drain()
            writer.close()

        place = self._folder / str(self._worker)
        place.unlink(missing_ok=True)
        return await asyncio.start_unix_server(connected, str(place), limit=1 << 28)


def _supervise(place: Place, ready: Callable[[], None]) -> int:
    """Run the processes, begin a new one for each that dies, and end all with this one."""
    stop = False

    def stopped(*_: object) -> None:
        nonlocal stop
        stop = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    count = place.server.workers
    context = multiprocessing.get_context("spawn")
    up = context.Queue()

    def begin(worker: int, generation: int) -> BaseProcess:
        one = replace(place, worker=worker, generation=generation)
        process = context.Process(target=_child, args=(one, up, os.getpid()), name=f"env-{worker}")
        process.start()
        return process

    running = [begin(worker, 0) for worker in range(count)]
    generations, waiting, told = [0] * count, set(range(count)), False
    try:
        while not stop:
            time.sleep(0.05)
            while not up.empty():
                waiting.discard(up.get())
            if not waiting and not told:
                told = True
                ready()
            for worker, process in enumerate(running):
                if process.exitcode is None or stop:
                    continue
                if worker in waiting:
                    raise WardianError(f"process {worker} of the server ended while it began (exit {process.exitcode})")
                click.echo(f"env: process {worker} ended (exit {process.exitcode}); its sessions are gone", err=True)
                generations[worker] += 1
                waiting.add(worker)
                running[worker] = begin(worker, generations[worker])
    finally:
        _end(running)
    return 0


def _end(running: list[BaseProcess]) -> None:
    for process in running:
        if process.exitcode is None:
            process.terminate()
    until = time.monotonic() + _DRAIN + 2
    for process in running:
        process.join(max(0, until - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _child(place: Place, up: Any, parent: int) -> None:
    """A process's beginning; it ends when the one that began it is no more."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, prctl(2)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches all; the first process says when to end
    stuck = _work(place, lambda: up.put(place.worker))
    if os.getppid() != parent:  # killed, it could not
        shutil.rmtree(place.folder, ignore_errors=True)
    if stuck:
        os._exit(0)
