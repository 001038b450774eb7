"""Runs one program that must not outlive its parent: `python -I -S leash.py PREFIX PROGRAM ARG…`.

The parent holds the other end of standard input. When the parent ends, however it ends (SIGKILL
too), the kernel closes that end, and the program is killed. PR_SET_PDEATHSIG would do it on Linux
alone, and follows the *thread* that started the program, which may end long before the parent.

The first line of the program's output that starts with PREFIX is passed on to standard output;
the rest is read and thrown away, so that the program never waits for a reader. Standard error is
the program's own. The exit code is the program's.

Standard library only, and few modules of it: this start-up is part of every node's boot.
"""

import os
import select
import signal
import sys

# Bytes of output kept while waiting for the line; a program that says more is not what we expect.
HEAD_LIMIT = 1 << 20


def _start(arguments: list[str]) -> tuple[int, int]:
    """Start the program; its process id and the reading end of its output."""
    reading, writing = os.pipe()
    # Ctrl-C in a terminal reaches the whole process group. The parent answers it; the program
    # stays up until the parent has finished with it, so it must not see the signal at all
    # (ignoring is not enough: a program that installs a handler would undo that).
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_CLOSE, reading),
        ],
        setsigmask=[signal.SIGINT],
    )
    os.close(writing)
    return pid, reading


def _watch(output: int, wakeup: int, prefix: bytes) -> bool:
    """Relay the line; return True if the parent is gone, False if the program may have ended."""
    head: bytes | None = b""
    poller = select.poll()
    for descriptor in (0, output, wakeup):
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if output in ready:
            chunk = os.read(output, 65536)
            if not chunk:
                poller.unregister(output)
            elif head is not None:
                head = (head + chunk)[-HEAD_LIMIT:]
                for line in head.split(b"\n")[:-1]:
                    if line.startswith(prefix):
                        os.write(1, line + b"\n")
                        head = None
                        break
        if 0 in ready and not os.read(0, 1):
            return True
        if wakeup in ready and any(n != signal.SIGCHLD for n in os.read(wakeup, 64)):
            return True
        if wakeup in ready:
            return False


def main() -> int:
    """Start, watch, end. Returns the program's exit code, 128 + signal if a signal ended it."""
    prefix, arguments = sys.argv[1].encode(), sys.argv[2:]
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        pid, output = _start(arguments)
    except OSError as error:
        sys.stderr.write(f"cannot start {arguments[0]}: {error}\n")
        return 127
    while True:
        if _watch(output, wakeup, prefix):
            # Nothing of the program's is worth saving, and a kill cannot hang.
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        else:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == 0:
                continue
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
