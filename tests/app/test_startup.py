"""What the command line sets before JAX starts, in processes of their own where JAX must not have started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest
from PIL import Image

from dipjax import shelf
from dipjax.app import cli, demo, doctor, startup, trial

ROOT = Path(__file__).parents[2]
COUNT = "import sys; from dipjax.app import startup; startup.use_cores(int(sys.argv[1])); import jax; print(jax.local_device_count())"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache's folder under a home of its own; afterwards JAX is as before, and nothing is kept."""
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_compilation_cache_dir", None)
    yield startup.cache_folder()
    shelf.use(None)
    for name, value in before.items():
        jax.config.update(name, value)


def python(code, *arguments, **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    environment = clean | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | variables
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("num_runs", [1, 2, 1000])
def test_there_are_as_many_cpu_devices_as_cores_but_no_more_than_runs(num_runs):
    assert python(COUNT, num_runs) == [str(min(startup.num_cores(), num_runs))]


@pytest.mark.parametrize("variables", [{"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}])
def test_the_users_number_of_devices_counts(variables):
    assert python(COUNT, 2, **variables) == ["3"]


def test_where_jax_has_started_the_number_of_devices_is_left_alone(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    startup.use_cores(2)
    assert "JAX_NUM_CPU_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("theirs", "flags"),
    [
        ("", startup.SHORT_LOOPS),
        ("--xla_cpu_multi_thread_eigen=false", f"--xla_cpu_multi_thread_eigen=false {startup.SHORT_LOOPS}"),
        ("--xla_backend_extra_options=xla_cpu_optimize_for_size", "--xla_backend_extra_options=xla_cpu_optimize_for_size"),
        ("flags.txt", "flags.txt"),
    ],
)
def test_loops_are_not_unrolled_unless_the_user_has_other_options(theirs, flags):
    code = "import os; from dipjax.app import startup; startup.use_short_loops(); print(os.environ['XLA_FLAGS'])"
    assert " ".join(python(code, **({"XLA_FLAGS": theirs} if theirs else {}))) == flags


def test_jax_starts_and_computes_with_short_loops():
    code = "from dipjax.app import startup; startup.start_jax(1); import jax; print(jax.jit(lambda x: 2 * x)(1.0))"
    assert python(code) == ["2.0"]


def test_where_jax_has_started_its_flags_are_left_alone(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    startup.use_short_loops()
    assert "XLA_FLAGS" not in os.environ


def test_the_demo_has_the_seeds_that_the_command_line_expects():
    assert demo._SETTINGS[demo._SETTINGS.index("--seeds") + 1] == str(cli._DEMO_SEEDS)


@pytest.mark.parametrize("command", ["denoise x.png --seeds 2", "demo -o /dev/null/x"])
@pytest.mark.slow
def test_a_command_asks_for_the_devices_before_jax_is_imported(command):
    code = f"""
import os, sys
from dipjax.app import main, startup
startup.num_cores = lambda: 8
main({command.split()})
print(os.environ["JAX_NUM_CPU_DEVICES"])
"""
    assert python(code)[-1] == "2"


@pytest.fixture
def trials(monkeypatch):
    """Collects the trials that are begun."""
    begun = []
    monkeypatch.setattr(trial, "begin", begun.append)
    return begun


def test_the_cache_is_private(folder):
    assert startup.use_cache("off") is None
    assert not folder.exists()
    assert not shelf.is_used()
    assert startup.use_cache("on") is None
    assert shelf.place(shelf.place, "key", shelf.FOUND).parent == folder and jax.config.jax_compilation_cache_dir is None
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.parents[:2])} == {0o700}
    assert startup.use_cache("on") is None  # a second time
    assert shelf.is_used() and startup.use_cache("off") is None and not shelf.is_used()


@pytest.mark.parametrize(
    ("verdict", "kept", "used", "begun"),
    [
        (None, False, True, True),  # nothing is there that could be read
        (None, True, False, True),
        (trial.WORKS, True, True, False),
        (trial.FAILS, False, False, False),
        ("nonsense", True, False, True),
    ],
)
def test_a_cpu_reads_only_where_it_is_known_to_read_what_it_wrote(folder, trials, verdict, kept, used, begun):
    folder.mkdir(parents=True, mode=0o700)
    folder.parents[1].chmod(0o700), folder.parent.chmod(0o700)
    if verdict:
        (folder / "verdict").write_text(verdict)
    if kept:
        (folder / "abc.program").write_text("")
    for _ in range(2):  # pictures of one process
        assert startup.use_cache("auto") is None
        assert shelf.is_used() == used
    assert set(trials) == {folder} if begun else not trials
    if used:
        shelf.write(shelf.place(shelf.place, "key", shelf.FOUND), 1)
        assert shelf.read(shelf.place(shelf.place, "key", shelf.FOUND)) == (1 if verdict else None)


def test_on_a_cpu_nobody_hears_of_a_cache_that_was_not_asked_for(folder, trials, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert startup.use_cache("auto") is None
    assert not trials and not shelf.is_used()


CHILD = "import os, sys; seen = os.listdir(sys.argv[1]); open(sys.argv[1] + '/program-cache', 'w'); {rest}"


@pytest.mark.parametrize(
    ("rest", "verdict"),
    [
        ("print(len(seen), 0.5)", trial.WORKS),
        ("print(0, 0.5)", trial.FAILS),  # nothing is read
        ("print(len(seen), 0.5 + len(seen))", trial.FAILS),  # it computes something else
        ("print(len(seen), 0.5); print('E0000 cpu_aot_loader.cc:195] not supported', file=sys.stderr)", trial.FAILS),
        ("print(len(seen), 0.5); seen and os.abort()", trial.FAILS),
        ("print('nothing')", trial.FAILS),
    ],
)
def test_a_trial_says_whether_a_second_process_reads_and_computes_the_same(tmp_path, monkeypatch, rest, verdict):
    monkeypatch.setattr(trial, "_command", lambda function, folder: [sys.executable, "-c", CHILD.format(rest=rest), folder])
    monkeypatch.setattr(trial.os, "nice", lambda by: None)
    monkeypatch.setattr(trial.signal, "signal", lambda *arguments: None)
    assert trial.verdict(tmp_path) is None
    trial.decide(str(tmp_path))
    assert trial.verdict(tmp_path) == verdict
    assert [path.name for path in tmp_path.iterdir()] == ["verdict"]


def test_a_trial_is_a_process_of_its_own(tmp_path, monkeypatch):
    code = "import sys; open(sys.argv[1] + '/verdict', 'w').write('works')"
    monkeypatch.setattr(trial, "_command", lambda function, folder: [sys.executable, "-c", code, str(folder)])
    trial.begin(tmp_path)
    for _ in range(200):
        if trial.verdict(tmp_path):
            break
        time.sleep(0.05)
    assert trial.verdict(tmp_path) == trial.WORKS


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process that is ended can clear up nothing")
def test_a_trial_that_is_ended_leaves_nothing_behind(tmp_path):
    code = """
import sys
from dipjax.app import trial
trial._command = lambda function, folder: [sys.executable, "-c", "import time; time.sleep(60)"]
trial.decide(sys.argv[1])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    for _ in range(400):
        if any(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    assert any(tmp_path.iterdir())
    child.terminate()
    assert child.wait(timeout=20) == 143
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_programs_that_this_cpu_kept_are_read_by_another_process(tmp_path):
    (before, total), (after, again) = (trial._told(str(tmp_path)) for _ in range(2))
    assert before == 0 < after and total == again


@pytest.mark.slow
@pytest.mark.parametrize("task", [("denoise",), ("inpaint", "--mask", "mask.png")], ids=lambda words: words[0])
def test_a_command_that_reads_what_it_kept_writes_the_same_picture(task, tmp_path):
    """Processes of their own: what a library needs that a program calls is there in one that has compiled it anyway."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    Image.fromarray(np.uint8(255 * (random.random((40, 36)) > 0.8))).save(tmp_path / "mask.png")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "cache").mkdir(mode=0o700)
    pictures, kept = [], []
    for cache in ("on", "on", "off"):
        words = [*task, "in.png", "-o", "out.png", "--steps", "3", "--seeds", "2", "--force", "--compilation-cache", cache]
        done = subprocess.run([sys.executable, "-m", "dipjax", *words], env=environment, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        pictures.append((tmp_path / "out.png").read_bytes())
        kept.append({(path.name, path.stat().st_ino) for path in (tmp_path / "cache").rglob("*.program")})  # not written again
    assert kept[0] == kept[1] == kept[2] and len(kept[0]) >= 4
    assert pictures[0] == pictures[1] == pictures[2]


def test_the_cache_is_on_where_there_is_an_accelerator(folder, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert startup.use_cache("auto") is None
    assert jax.config.jax_compilation_cache_dir == str(folder.parents[1] / "xla" / f"{jaxlib.__version__}-gpu") and not shelf.is_used()


def test_the_users_own_cache_counts(folder):
    jax.config.update("jax_compilation_cache_dir", "theirs")
    assert startup.use_cache("on") is None
    assert jax.config.jax_compilation_cache_dir == "theirs" and not shelf.is_used()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_folder_that_others_can_write_or_that_is_a_link_is_refused(folder, level, tmp_path):
    path = (folder, *folder.parents)[level]
    path.parent.mkdir(parents=True, mode=0o700)
    path.mkdir()
    path.chmod(0o777)
    assert str(path) in startup.use_cache("on")
    path.rmdir()
    path.symlink_to(tmp_path, target_is_directory=True)
    assert str(path) in startup.use_cache("on")
    assert not shelf.is_used()


def test_a_cache_that_cannot_be_made_is_a_note_and_no_failure(folder, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert startup.use_cache("on").startswith("compiled programs are not kept: ")


def test_doctor_says_where_the_cache_is_and_what_to_set_for_more_devices(folder, capsys, monkeypatch):
    monkeypatch.setattr(startup, "num_cores", lambda: 6)
    assert doctor.run() == 0
    out = capsys.readouterr().out
    assert f"{folder}, used by the commands once it is known that this CPU reads back what it wrote, 0 programs kept" in out
    assert ("JAX_NUM_CPU_DEVICES=6" in out) == (jax.local_device_count() == 1)
    assert not folder.exists()


@pytest.fixture
def started_again(monkeypatch):
    """Collects what would replace this process; huge pages can be had."""
    calls = []
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(startup, "_huge_pages_wait_to_be_asked_for", lambda: True)
    monkeypatch.setattr(startup.os, "execve", lambda *arguments: calls.append(arguments))
    return calls


def test_a_program_starts_again_with_the_same_arguments_and_huge_pages(started_again, monkeypatch):
    monkeypatch.setattr(startup.sys, "orig_argv", ["python", "-m", "dipjax", "denoise", "a b.png"])
    startup.use_huge_pages()
    ((program, arguments, environment),) = started_again
    assert program == startup.sys.executable
    assert arguments == [startup.sys.executable, "-m", "dipjax", "denoise", "a b.png"]
    assert environment == startup.os.environ | startup.HUGE_PAGES


def test_a_program_does_not_start_again_where_that_is_decided_or_of_no_use(started_again, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    startup.use_huge_pages()
    monkeypatch.delenv("GLIBC_TUNABLES")
    monkeypatch.setattr(startup, "_huge_pages_wait_to_be_asked_for", lambda: False)
    startup.use_huge_pages()
    assert not started_again


def test_a_program_goes_on_where_it_cannot_start_again(started_again, monkeypatch):
    def refuse(*arguments):
        raise OSError

    monkeypatch.setattr(startup.os, "execve", refuse)
    startup.use_huge_pages()
    assert not started_again


START = """
import os, sys
from dipjax.app import startup
{before}
try:
    startup.start_jax(2)
except startup.JaxError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_NUM_CPU_DEVICES", "abc"), ("JAX_PLATFORMS", "foo"), ("JAX_ENABLE_X64", "maybe"), ("JAX_DEFAULT_MATMUL_PRECISION", "high er")],
)
def test_a_variable_that_keeps_jax_from_starting_is_named(name, value):
    sentence = " ".join(python(START.format(before=""), **{name: value}))
    assert sentence.startswith("JAX cannot be started: ")
    assert sentence.endswith(f"; is {name}={value} in the environment right?")


def test_a_part_of_jax_that_is_missing_is_named():
    before = "sys.modules['jaxlib'] = None; del os.environ['JAX_PLATFORMS']"
    assert "jaxlib" in " ".join(python(START.format(before=before)))


def test_a_command_says_in_one_sentence_that_jax_cannot_start():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = clean | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "abc"}
    for command in (["denoise", "photo.png"], ["demo"], ["generators"]):
        done = subprocess.run([sys.executable, "-m", "dipjax", *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("dipjax: error: JAX cannot be started")


def test_an_unknown_backend_does_not_keep_matplotlib_from_drawing_into_files():
    code = "from dipjax.app import startup; startup.use_no_screen(); import matplotlib.figure; print('imported')"
    assert python(code, MPLBACKEND="nonsense") == ["imported"]


def test_doctor_goes_on_in_a_folder_that_is_gone_and_with_a_jax_that_does_not_start(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    def fail():
        raise RuntimeError("no\ndevice")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "\x1b[2J")
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert "folder    cannot be used" in out
    assert "WARNING   JAX cannot be started: no device; is JAX_PLATFORMS=\\x1b[2J" in out
    assert "\x1b" not in out
