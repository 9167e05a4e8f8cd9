"""Measuring: wall time of one process, contestants in random order within each round, medians."""
import os
import random
import statistics
import time


def wall(argv):
    """Wall milliseconds from the start of a process to its end, its output thrown away."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    before = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    after = time.perf_counter()
    os.close(null)
    if status != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return (after - before) * 1000


def in_turn(commands, count):
    """The medians of several commands that are run in turn."""
    times = [[wall(command) for command in commands] for _ in range(count)]
    return [statistics.median(column) for column in zip(*times)]


def interleaved(names, count, prepare, command):
    """Milliseconds of `command(name)` for each name and round; `prepare(name)` goes before and is not measured. One round
    goes before them all, for what is only made at the first use."""
    times = {name: [] for name in names}
    for number in range(count + 1):
        for name in random.sample(names, len(names)):
            prepare(name)
            took = wall(command(name))
            if number > 0:
                times[name].append(took)
    return times


def added(times, bare="no hook"):
    """The median of what each adds to the bare one in the same round; of the bare one, the median itself."""
    medians = {bare: statistics.median(times[bare])}
    for name in times:
        if name != bare:
            medians[name] = statistics.median(took - without for took, without in zip(times[name], times[bare]))
    return medians
