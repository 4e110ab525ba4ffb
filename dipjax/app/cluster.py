"""Many pictures on many machines: Ray hands each of them to a worker, and tries again where a worker is lost.

What a worker does is what one machine does, record included, so that a picture that is restored twice is still one picture. Files are read
and written where the command says, which all machines must see alike. Needs the package ray.
"""

import contextlib
import io
import os
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from dipjax.app import many, signals
from dipjax.app.streams import say
from dipjax.tasks.options import Misused, Options

LOCAL = "local"  # the word for a cluster that is made on this machine, for this command
_RETRIES = 5  # of a picture whose worker was lost
_GLANCE = 0.5  # seconds between two looks at what is done
_NOT_SENT = ("run", "parser")  # of a command line: functions


def run(jobs: list[many.Job], given: Namespace, tell: Callable[[many.Job, str], Any]) -> many.Counts:
    """Restores what is not done yet, as `many.run` does, on the machines of a cluster.

    Raises:
      Misused: Ray is missing, or there is no cluster at the address.
    """
    ray = _started(given.ray)
    try:
        return _run(ray, jobs, given, tell)
    finally:
        ray.shutdown()


def _started(address):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise Misused("--ray: found no package ray; install it (in a checkout '.[ray]')") from error
    how = {"include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True, **how)
    except Exception as error:
        raise Misused(f"--ray: cannot reach a cluster at {address!r}: {' '.join(str(error).split())[:200]}") from error
    return ray


def _run(ray, jobs, given, tell):
    sent = Namespace(**{name: value for name, value in vars(given).items() if name not in _NOT_SENT})
    seeds = getattr(given, "seeds", Options.seeds)
    signals.protect()
    largest = max((node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]), default=1)
    share = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": max(1, min(seeds, int(largest) // 2))}
    task = ray.remote(max_retries=_RETRIES, **share)(_restore)
    waiting = {task.remote(job, sent, os.getcwd()): job for job in jobs}
    total, number = many.Counts(0, 0, 0, 0), 0
    while waiting and not signals.requested():
        done, _ = ray.wait(list(waiting), timeout=_GLANCE)
        for one in done:
            job, number = waiting.pop(one), number + 1
            counts, errors = _outcome(ray, one, job)
            total = many.Counts(*(a + b for a, b in zip(total, counts, strict=True)))
            say(f"{number} of {len(jobs)}: {job.path}, {counts}")
            for error in errors:
                tell(job, error)
    for one in waiting:
        with contextlib.suppress(Exception):
            ray.cancel(one, force=True)
    return total._replace(left=total.left + len(waiting))


def _outcome(ray, one, job):
    try:
        return ray.get(one)
    except Exception as error:  # its workers were lost more often than is tried
        return many.Counts(0, 0, 1, 0), [f"{job.path}: {' '.join(str(error).split())[:300]}"]


def _restore(job: many.Job, given: Namespace, folder: str) -> tuple[many.Counts, list[Any]]:
    """Restores one picture in a worker; what it would say is not heard."""
    from dipjax.app import startup

    os.chdir(folder)
    startup.start_jax(getattr(given, "seeds", Options.seeds))
    from dipjax.app import command
    from dipjax.tasks import tasks  # noqa: F401, which registers them

    errors = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return many.run([job], given, command.work, lambda _, sentence: errors.append(sentence)), errors
        except Misused as error:
            return many.Counts(0, 0, 1, 0), [str(error)]
