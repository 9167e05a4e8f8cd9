"""The peak of a process's memory, as the kernel counts it (VmHWM, proc(5)), read in the moment before it ends. `ru_maxrss`
would not do: it starts with the memory of whoever started the process, and mixes it with that of its children."""
import ctypes
import os
import signal
import sys

SEIZE, CONT, LISTEN = 0x4206, 7, 0x4208
FORK, VFORK, CLONE, EXIT = 1, 2, 3, 6
EVENT_STOP = 128
ALL_CHILDREN = 0x40000000


def peaks(argv):
    """Runs a command and gives the peak in MiB of each program that it runs, by the program's path; none where the machine
    does not let processes be traced."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execvp(argv[0], argv)
    os.waitpid(pid, os.WUNTRACED)
    options = sum(1 << event for event in (FORK, VFORK, CLONE, EXIT))
    refused = ptrace(SEIZE, pid, options)
    os.kill(pid, signal.SIGCONT)
    found = {}
    while True:
        try:
            traced, status = os.waitpid(-1, ALL_CHILDREN)
        except ChildProcessError:
            return {} if refused else found
        if not os.WIFSTOPPED(status):
            continue
        number, event = os.WSTOPSIG(status), status >> 16
        if event == EXIT:
            note(traced, found)
        if event == EVENT_STOP and number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            ptrace(LISTEN, traced, 0)
        else:
            ptrace(CONT, traced, 0 if event or number == signal.SIGTRAP else number)


def note(pid, found):
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError:
        # A thread that outlives its process's first one has no program any more.
        return
    with open(f"/proc/{pid}/status") as status:
        kib = next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    found[program] = max(found.get(program, 0), kib / 1024)


def ptrace(request, pid, data):
    return sys.platform != "linux" or LIBC.ptrace(request, pid, None, ctypes.c_void_p(data)) != 0


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
