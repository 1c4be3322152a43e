"""What a program cannot have says why, and what to do instead, where the model reads it. In the real jail."""

from __future__ import annotations

import pytest
from local.harness import open_python

from callgate import CodeRunner, Limits, SandboxUnavailable
from callgate.sandboxes import LocalSandbox

TOOL = "expose a host tool that does exactly this"
NO_PROCESSES = f"a program cannot start processes; {TOOL}"
ONE_PROCESS = f"a program is one process; use concurrent.futures.ThreadPoolExecutor, threading or asyncio in place of processes, or {TOOL}"
NO_NETWORK = f"a program has no network; {TOOL}"
NO_FILES = f"a program has no access to the host's files and writes only below /tmp and /out; {TOOL}"
NO_SIGNALS = "signals do not follow the program's clock; use threading.Timer or asyncio.timeout"
NOT_PERMITTED = f"the sandbox lets no program start processes, open sockets, signal others or change the system; {TOOL}"

POOL = "from concurrent.futures import ProcessPoolExecutor\n"
MP = "import multiprocessing as mp\n"
AIO = "import asyncio\n"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        pytest.param("import subprocess\nsubprocess.run(['ls'])", f"subprocess.Popen: {NO_PROCESSES}", id="subprocess.run"),
        pytest.param("import subprocess\nsubprocess.Popen('ls', shell=True)", f"subprocess.Popen: {NO_PROCESSES}", id="Popen"),
        pytest.param("import subprocess\nsubprocess.check_output('ls')", NO_PROCESSES, id="check_output"),
        pytest.param("import os\nos.system('ls')", f"os.system: {NO_PROCESSES}", id="os.system"),
        pytest.param("import os\nos.popen('ls')", f"os.popen: {NO_PROCESSES}", id="os.popen"),
        pytest.param("import os\nos.fork()", f"os.fork: {NO_PROCESSES}", id="os.fork"),
        pytest.param("import os\nos.forkpty()", f"os.forkpty: {NO_PROCESSES}", id="os.forkpty"),
        pytest.param("import os\nos.execv('/bin/ls', ['ls'])", f"os.execv: {NO_PROCESSES}", id="os.execv"),
        pytest.param("import os\nos.execlp('ls', 'ls')", f"os.execv: {NO_PROCESSES}", id="os.execlp"),
        pytest.param("import os\nos.spawnlp(os.P_WAIT, 'ls', 'ls')", f"os.fork: {NO_PROCESSES}", id="os.spawnlp"),
        pytest.param("import os\nos.posix_spawn('/bin/ls', ['ls'], {})", NO_PROCESSES, id="os.posix_spawn"),
        pytest.param(AIO + "await asyncio.create_subprocess_exec('ls')", NO_PROCESSES, id="asyncio subprocess"),
        pytest.param(AIO + "await asyncio.create_subprocess_shell('ls')", NO_PROCESSES, id="asyncio shell"),
        pytest.param(
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "if libc.fork() < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))",
            NOT_PERMITTED,
            id="fork in C",
        ),
        pytest.param("import os\nos.kill(os.getpid(), 9)", "a program cannot send signals to processes", id="os.kill"),
        pytest.param("import os\nos.killpg(0, 9)", "a program cannot send signals to processes", id="os.killpg"),
        pytest.param(MP + "mp.Process(target=print).start()", ONE_PROCESS, id="Process"),
        pytest.param(
            MP + "mp.get_context('fork').Process(target=print).start()", ONE_PROCESS, id="Process by fork"
        ),
        pytest.param(
            MP + "mp.get_context('spawn').Process(target=print).start()", ONE_PROCESS, id="Process by spawn"
        ),
        pytest.param(MP + "with mp.Pool(2) as p: p.map(abs, [1])", f"multiprocessing.Pool: {ONE_PROCESS}", id="Pool"),
        pytest.param(MP + "mp.get_context('fork').Pool(2)", f"multiprocessing.Pool: {ONE_PROCESS}", id="a context's Pool"),
        pytest.param(MP + "mp.Queue()", f"multiprocessing.Queue: {ONE_PROCESS}", id="Queue"),
        pytest.param(MP + "mp.Manager()", f"multiprocessing.Manager: {ONE_PROCESS}", id="Manager"),
        pytest.param(MP + "mp.Lock()", f"multiprocessing.Lock: {ONE_PROCESS}", id="Lock"),
        pytest.param(MP + "mp.Value('i', 0)", f"multiprocessing.Value: {ONE_PROCESS}", id="Value"),
        pytest.param(POOL + "ProcessPoolExecutor().submit(abs, 1)", ONE_PROCESS, id="ProcessPoolExecutor"),
        pytest.param(POOL + "with ProcessPoolExecutor(2) as p: list(p.map(abs, [1]))", ONE_PROCESS, id="its map"),
        pytest.param(
            "import concurrent.futures.process as p\np.ProcessPoolExecutor()", ONE_PROCESS, id="its own module's"
        ),
        pytest.param("import socket\nsocket.socket()", f"socket.socket: {NO_NETWORK}", id="socket"),
        pytest.param("import socket\nsocket.create_connection(('example.org', 80))", NO_NETWORK, id="create_connection"),
        pytest.param("import socket\nsocket.gethostbyname('example.org')", NO_NETWORK, id="gethostbyname"),
        pytest.param("import socket\nsocket.socketpair()", NO_NETWORK, id="socketpair"),
        pytest.param("import socket\nsocket.socket(socket.AF_UNIX).connect('/x')", NO_NETWORK, id="a local socket"),
        pytest.param("import urllib.request\nurllib.request.urlopen('http://example.org')", NO_NETWORK, id="urllib"),
        pytest.param("import urllib.request\nurllib.request.urlopen('https://example.org')", NO_NETWORK, id="https"),
        pytest.param(
            "import http.client\nhttp.client.HTTPConnection('example.org').request('GET', '/')", NO_NETWORK, id="http"
        ),
        pytest.param("import http.server\nhttp.server.HTTPServer(('', 0), None)", NO_NETWORK, id="a server"),
        pytest.param("import smtplib\nsmtplib.SMTP('example.org')", NO_NETWORK, id="smtplib"),
        pytest.param(AIO + "await asyncio.open_connection('example.org', 80)", NO_NETWORK, id="asyncio"),
        pytest.param(AIO + "await asyncio.start_server(print, '', 0)", NO_NETWORK, id="an asyncio server"),
        pytest.param(AIO + "await asyncio.open_unix_connection('/x')", NO_NETWORK, id="asyncio's local socket"),
        pytest.param("open('/etc/passwd')", NO_FILES, id="open"),
        pytest.param("open('data.csv')", NO_FILES, id="open in the own directory"),
        pytest.param("import pathlib\npathlib.Path('/srv/somebody/x').read_text()", NO_FILES, id="pathlib"),
        pytest.param("import pathlib\nlist(pathlib.Path('/home').iterdir())", NO_FILES, id="pathlib's list"),
        pytest.param("import os\nos.listdir('/home')", NO_FILES, id="os.listdir"),
        pytest.param("import os\nos.stat('/srv/somebody')", NO_FILES, id="os.stat"),
        pytest.param("import shutil\nshutil.copy('/etc/passwd', '/tmp')", NO_FILES, id="shutil"),
        pytest.param("import os\nos.environ['HOME'] = '/root'\nos.chdir('/root')", NO_FILES, id="os.chdir"),
        pytest.param("import sqlite3\nsqlite3.connect('/srv/somebody/x.db')", NO_FILES, id="sqlite3"),
        pytest.param("open('/usr/x', 'w')", NO_FILES, id="write to /usr"),
        pytest.param("open('/x', 'w')", NO_FILES, id="write to the root"),
        pytest.param("open('/srv/somebody/x', 'w')", NO_FILES, id="write to a home"),
        pytest.param("import os\nos.mkdir('/data')", NO_FILES, id="make a directory"),
        pytest.param("import pathlib\npathlib.Path('/usr/x').write_text('')", NO_FILES, id="write with pathlib"),
        pytest.param("import os\nos.remove('/usr/bin/env')", NO_FILES, id="remove"),
        pytest.param("import shutil\nshutil.move('/tmp', '/usr/x')", NO_FILES, id="move"),
        pytest.param(
            "import pandas_of_another_name",
            "a program has the standard library and the packages that are shown to it: "
            "LocalSandbox(packages=['pandas_of_another_name']) shows this one; do without it, or expose a host tool",
            id="a package",
        ),
        pytest.param("import requests.adapters", "LocalSandbox(packages=['requests']) shows this one", id="a part of one"),
        pytest.param("from yaml import safe_load", "LocalSandbox(packages=['yaml']) shows this one", id="from a package"),
        pytest.param("import signal\nsignal.alarm(1)", f"signal.alarm: {NO_SIGNALS}", id="signal.alarm"),
        pytest.param("import signal\nsignal.setitimer(signal.ITIMER_REAL, 1)", NO_SIGNALS, id="signal.setitimer"),
        pytest.param("import os\nos.setuid(0)", NOT_PERMITTED, id="os.setuid"),
        pytest.param("import os\nos.chroot('/tmp')", TOOL, id="os.chroot"),
        pytest.param("import os\nos.sched_setaffinity(0, {0})", NOT_PERMITTED, id="os.sched_setaffinity"),
    ],
)  # fmt: skip
def test_what_a_program_cannot_have_says_why_and_what_to_do_instead(jail, program, says):
    outcome = CodeRunner([], sandbox=jail, limits=Limits(seconds=20)).run(program)
    assert outcome.status == "failed", outcome.text
    assert says in outcome.text
    assert f"in line {outcome.error.line}: " in outcome.text


def test_a_cure_is_told_once(jail):
    text = CodeRunner([], sandbox=jail).run("import socket\nsocket.socket()").text
    assert text.count(TOOL) == 1


def test_what_only_sounds_like_a_package_gets_no_advice(jail):
    outcome = CodeRunner([], sandbox=jail).run("import tkinter.nothing_like_this")
    assert (outcome.status, "packages=" in outcome.text) == ("failed", False)


def test_a_program_that_is_refused_can_go_on(jail):
    program = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
try:
    pool = ProcessPoolExecutor()
except PermissionError:
    pool = ThreadPoolExecutor()
list(pool.map(abs, [-1, -2]))
"""
    assert CodeRunner([], sandbox=jail).run(program).value == [1, 2]


def test_a_printed_traceback_of_a_thread_says_it_too(jail):
    program = "import threading\nt = threading.Thread(target=open, args=('/etc/passwd',))\nt.start()\nt.join()"
    assert NO_FILES in CodeRunner([], sandbox=jail).run(program).stdout


@pytest.fixture(scope="module")
def bare():
    """A sandbox without namespaces, and so without a file system of its own."""
    with LocalSandbox(namespaces=False, python=open_python(), spares=0) as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs without namespaces: {error}")
        yield sandbox


NOWHERE = (
    "in this sandbox a program has no place to write files: print the text or end with it as the value, or " + TOOL
)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        pytest.param("open('/out/report.csv', 'w')", NOWHERE, id="/out"),
        pytest.param("open('/tmp/x', 'w')", NOWHERE, id="/tmp"),
        pytest.param("open('x', 'w')", NOWHERE, id="the own directory"),
        pytest.param("import os\nos.makedirs('/out/plots')", NOWHERE, id="a directory"),
        pytest.param("open('/etc/passwd')", f"the host's files; {TOOL}", id="a file of the host"),
        pytest.param("import os\nos.listdir('/home')", f"the host's files; {TOOL}", id="a directory of the host"),
        pytest.param("import tempfile\ntempfile.mkstemp()", NOWHERE, id="tempfile"),
        pytest.param("import subprocess\nsubprocess.run(['ls'])", NO_PROCESSES, id="subprocess"),
        pytest.param("import socket\nsocket.socket()", NO_NETWORK, id="socket"),
        pytest.param(MP + "mp.Queue()", ONE_PROCESS, id="multiprocessing"),
    ],
)
def test_without_namespaces_too(bare, program, says):
    outcome = CodeRunner([], sandbox=bare, limits=Limits(seconds=20)).run(program)
    assert outcome.status == "failed", outcome.text
    assert says in outcome.text
    assert outcome.artifacts == ()
