"""`--live`: a page that shows the picture as it forms, served to browsers of this machine, with a button to stop and one to keep.

The server listens on 127.0.0.1 alone, at a free port, and answers only who knows the random token in the path, calls it by its own
address, and, for what changes something, comes from its own page. All that it refuses is refused in one sentence.

A `View` is what all pages see, one for a command; a `Scene` is one picture of it. The display sets the scene, the server's threads
read it: nothing that happens to a browser happens to the work.
"""

import contextlib
import hmac
import json
import secrets
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from dipjax.app import signals, streams
from dipjax.files import OutputError
from dipjax.files.web import shown
from dipjax.tasks.options import Misused

_HOST = "127.0.0.1"
_PAGES = 8  # that may be open at once: each has a thread
_PATIENCE = 10.0  # seconds that a browser may keep a thread waiting
_PAUSE = 0.3  # seconds between two pictures for one page
_HEARTBEAT = 5.0  # seconds, after which a page is told the same again, so that one that has gone is noticed
_LAST_LOOK = 5.0  # seconds that open pages have to fetch the end
_MOST_BYTES, _LONGEST = 400_000, 1024  # of a picture while it forms
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest of the policy is in the page
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Scene:
    """One picture, and how far it is."""

    def __init__(self, view: "View", number: int, name: str, keep: Callable[[Any, np.ndarray, int], Path] | None):
        """Begins with nothing; `keep(task, image (H, W, C), steps)` writes a picture and returns where, None where there is no place."""
        self.number, self.name, self.keep = number, name, keep
        self.task = self.latest = None
        self.status, self.total, self.report = "compiling", 0, None
        self.is_running = self.is_ended = False
        self.kept: list[Path] = []
        self._view, self._encoding, self._encoded = view, threading.Lock(), (None, None)

    @contextlib.contextmanager
    def display(self, task: Any, num_steps: int, line: Callable, describe: Callable) -> Iterator[Callable]:
        """A display of `progress.follow`; `line(result, elapsed, describe)` says in words how far it is."""
        self.task, self.total = task, num_steps
        told = None

        def show(result, elapsed):
            nonlocal told
            if is_begun := result is not None and result.num_steps > 0:
                self.latest = result
            if self._view.is_watched and (result is None or result is not told):
                told = result
                self._view.change(self, status=line(result, elapsed, describe) if is_begun else f"compiling, {elapsed:.0f} s")

        self._view.change(self, status="compiling", is_running=True)
        self._view.open()
        yield show
        self._view.change(self, status="finishing", is_running=False)

    def ended(self, image: np.ndarray, words: str, report: Callable[[], bytes]) -> None:
        """Shows the result `(H, W, C)`, in the units of the input; `report` makes its page, if somebody is there to see it."""
        if self.task is None:
            return
        with self._encoding:
            self._encoded, self.is_ended = (None, self._shown(image)), True
        page = None
        with contextlib.suppress(Exception):  # the page of a result that is written already is worth no error
            page = report() if self._view.is_watched and self.number == 1 else None
        self._view.change(self, status=words, report=page, is_running=False)

    def before(self) -> str:
        """Returns the input as an address."""
        return shown(self.task.before, most_bytes=_MOST_BYTES, longest=_LONGEST).uri

    def size(self) -> tuple[int, int]:
        """Returns the height and width of the result."""
        return self.task.before.shape[:2]

    def image(self, result: Any) -> np.ndarray:
        """Returns the picture of a result so far, in the units of the input."""
        from dipjax.tasks.restore import finished

        return finished(self.task, result.image)

    def whole(self, result: Any) -> np.ndarray:
        """Returns that picture with what it leaves of the measurement, nearly as it will be written; to be shown that takes too long."""
        from dipjax.tasks.restore import whole

        return whole(self.task, result.image)

    def picture(self) -> tuple[str | None, bool]:
        """Returns the picture so far, or the result, as an address, made once for all pages, and whether it is the result."""
        with self._encoding:
            latest = self.latest
            if not self.is_ended and latest is not None and self._encoded[0] is not latest:
                self._encoded = (latest, self._shown(self.image(latest)))
            return self._encoded[1], self.is_ended

    def _shown(self, image):
        return shown(self.task.span.scaled(image), most_bytes=_MOST_BYTES, longest=_LONGEST).uri


class View:
    """What the pages of one command see, and the server that they see it from."""

    def __init__(self):
        """Takes a port; nobody is answered before the first scene.

        Raises:
          OutputError: there is no port.
        """
        self.scene, self.is_over, self._is_open, self.num_scenes = None, False, False, 0
        self.token = secrets.token_urlsafe(24)
        self._changed, self._version, self._pages, self._leaving = threading.Condition(), 0, 0, 0
        try:
            self._server = _Server((_HOST, 0), _Handler)
        except OSError as error:
            raise OutputError(f"cannot open a port on {_HOST} for --live: {error.strerror}") from error
        self._server.view = self
        self.authority = f"{_HOST}:{self._server.server_address[1]}"
        self.address = f"http://{self.authority}/{self.token}/"

    @property
    def is_watched(self) -> bool:
        """Whether a page is open."""
        return self._pages > 0

    def begin(self, name: str, keep: Callable | None) -> Scene:
        """Returns the scene of the next picture."""
        self.num_scenes += 1
        scene = Scene(self, self.num_scenes, name, keep)
        if self._is_open:
            self.change(scene)
        return scene

    def open(self) -> None:
        """Opens the doors, once there is something to see, and says where."""
        if not self._is_open:
            self._is_open = True
            threading.Thread(target=self._server.serve_forever, args=(_PAUSE,), name="dipjax_live", daemon=True).start()
            streams.tell(f"live view: {self.address}")

    def change(self, scene: Scene, **what: Any) -> None:
        """Sets attributes of a scene, which is shown from now on, and wakes all pages."""
        with self._changed:
            for name, value in what.items():
                setattr(scene, name, value)
            self.scene = scene
            self._version += 1
            self._changed.notify_all()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yields what one page is told, until the end.

        Raises:
          OverflowError: too many pages are open.
        """
        with self._changed:
            if self._pages >= _PAGES:
                raise OverflowError(f"{_PAGES} pages of the live view are open, which is the most; close one")
            self._pages += 1
        version, is_over, is_told, known = -1, False, False, None
        try:
            while not is_over:
                with self._changed:
                    self._changed.wait_for(lambda before=version: self._version != before, _HEARTBEAT)
                    version, scene, is_over = self._version, self.scene, self.is_over
                message = self._message(scene, is_over)
                yield message | ({"picture": None} if message["picture"] == known else {})
                known = message["picture"]
                if not is_over:
                    time.sleep(_PAUSE)
            is_told = self._has_report(scene)
        finally:
            with self._changed:
                self._pages -= 1
                self._leaving += is_told
                self._changed.notify_all()

    def _has_report(self, scene):
        return self.num_scenes == 1 and scene.report is not None

    def _message(self, scene, is_over):
        latest, (picture, is_ended) = scene.latest, scene.picture() if scene.task else (None, False)
        runs = latest is not None and scene.is_running and not is_over
        ended = scene.status if is_ended else "the command has ended"
        return {
            "number": scene.number,
            "status": ended if is_over else scene.status,
            "picture": picture,
            "label": "result" if is_ended else "so far",
            "steps": latest.num_steps if latest is not None else 0,
            "total": scene.total,
            "stop": runs and signals.requested() is None,
            "keep": runs and scene.keep is not None,
            "over": is_over,
            "report": is_over and self._has_report(scene),
        }

    def fetched(self) -> None:
        """Notes that a page has the report."""
        with self._changed:
            self._leaving -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Tells all pages that the command ends, waits a little until they have what they show then, and closes the doors."""
        with self._changed:
            self.is_over = True
            self._version += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._pages + self._leaving <= 0, _LAST_LOOK)
        if self._is_open:
            self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def opened(given: Namespace) -> Iterator[None]:
    """Gives a command line its `view`, None without `--live`, as long as the command works.

    Raises:
      Misused: other machines do the work.
      OutputError: there is no port.
    """
    given.view = None
    if not given.live:
        yield
        return
    if given.ray:
        raise Misused("--live: found --ray too, expected work on this machine; --report makes pages of what is done elsewhere")
    given.view = View()
    try:
        yield
    finally:
        given.view.close()


class _Refused(Exception):
    """A request that is not answered, and why."""

    def __init__(self, code, sentence):
        super().__init__(sentence)
        self.code = code


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    view: View

    def handle_error(self, request, client_address):
        """Keeps silent of browsers that leave."""
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; `http.server` offers no other way than a subclass."""

    timeout = _PATIENCE
    server_version, sys_version = "dipjax", ""

    def do_GET(self):
        self._answer({"": self._page, "events": self._events, "report": self._report}, "GET")

    def do_POST(self):
        self._answer({"stop": self._stop, "keep": self._keep}, "POST")

    def log_message(self, *words):
        """Says nothing: the terminal belongs to the progress."""

    def send_error(self, code, message=None, explain=None):
        """Refuses what `http.server` itself does not understand."""
        del explain
        self._send(code, f"the request is refused: {message or 'it is no request for a page'}")

    def _answer(self, actions, method):
        view = self.server.view
        try:
            self._check_host(view)
            _, token, name = [*urlsplit(self.path).path.split("/", 2), "", ""][:3]
            if not hmac.compare_digest(token.encode(), view.token.encode()):
                raise _Refused(404, "there is nothing here; open the whole address that the command has told, with its token")
            if name not in actions:
                other = "GET" if method == "POST" else "POST"
                is_known = name in ("", "events", "report", "stop", "keep")
                raise _Refused(405, f"found {method}, expected {other}") if is_known else _Refused(404, "there is no page of that name")
            if method == "POST" or name == "events":
                self._check_origin(view, is_needed=method == "POST")
            actions[name](view)
        except _Refused as refused:
            self._send(refused.code, str(refused))

    def _check_host(self, view):
        hosts = self.headers.get_all("Host") or []
        if hosts != [view.authority]:  # a name of somebody else that leads here, to get around the browser's rules
            raise _Refused(403, f"the request is for the host {', '.join(hosts) or 'of no name'}, expected {view.authority}")

    def _check_origin(self, view, *, is_needed):
        origins = self.headers.get_all("Origin") or []
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if (origins or is_needed) and origins != [f"http://{view.authority}"]:
            raise _Refused(403, f"the request comes from {', '.join(origins) or 'no page'}, expected this page itself")
        if site != "same-origin":
            raise _Refused(403, f"the request comes from a page of another kind, {site}, expected this page itself")
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            raise _Refused(400, "the request has a body, expected none")

    def _page(self, view):
        from dipjax.app.html.live import page

        scene = view.scene
        if scene is None or scene.task is None:
            self._send(503, "the picture is being read; load this page again in a moment", {"Refresh": "1"})
            return
        page = page(scene.name, scene.number, scene.size(), scene.before(), can_keep=scene.keep is not None)
        self._send(200, page, {"Content-Type": "text/html; charset=utf-8"})

    def _events(self, view):
        messages = view.messages()
        try:
            first = next(messages)
        except OverflowError as error:
            raise _Refused(503, str(error)) from error
        with contextlib.closing(messages), contextlib.suppress(OSError):  # it has left
            self._head(200, {"Content-Type": "text/event-stream"})
            while first is not None:
                self.wfile.write(f"data: {json.dumps(first)}\n\n".encode())
                first = next(messages, None)

    def _report(self, view):
        scene = view.scene
        if scene is None or scene.report is None:
            raise _Refused(409, "there is no report yet, expected the end of the command")
        with contextlib.suppress(OSError):
            self._send(200, scene.report, {"Content-Type": "text/html; charset=utf-8"})
        view.fetched()

    def _running(self, view):
        scene = view.scene
        if scene is None or scene.latest is None:
            raise _Refused(409, "not one step is finished, so that there is no picture yet")
        if not scene.is_running or view.is_over:
            raise _Refused(409, "the picture is finished already")
        return scene

    def _stop(self, view):
        self._running(view)
        signals.request()
        self._send(200, "it stops here, and the picture so far will be written")

    def _keep(self, view):
        scene = self._running(view)
        if scene.keep is None:
            raise _Refused(409, "there is no place for it: the picture goes to stdout, or is one of several pages")
        result = scene.latest
        try:
            path = scene.keep(scene.task, scene.whole(result), result.num_steps)
        except OutputError as error:
            raise _Refused(409, str(error)) from error
        scene.kept.append(path)
        self._send(200, f"wrote {path}")

    def _send(self, code, content, headers=None):
        data = content if isinstance(content, bytes) else f"{content}\n".encode("utf-8", "backslashreplace")
        self._head(code, {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(data))} | (headers or {}))
        self.wfile.write(data)

    def _head(self, code, headers):
        self.send_response(code)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
