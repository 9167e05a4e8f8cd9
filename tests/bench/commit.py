"""The first table: what each contestant adds to `git commit`, and the most memory that its program took."""
import itertools

import memory
import rounds
import table
import workplace
from contestants import Job

JOBS = [
    Job("one no-op"),
    Job("ten no-ops", steps=10),
    Job("glob + arguments", suffix=".txt", handed_over=True),
    Job("nothing matches", suffix=".none"),
    # The edit lies in the work tree while the step runs with the shell and with lefthook: they do not put it aside.
    Job("with an unstaged edit", suffix=".txt", handed_over=True, edited=True),
]
TEXTS = itertools.count()


class Clones:
    """A clone of a template for each contestant, in which commits are made."""

    def __init__(self, template, everyone):
        self.template, self.everyone = template, everyone
        self.folders = {name: template.clone(name) for name in everyone}

    def set_up(self, job):
        """Gives everybody the job, and sees that each really does it: a step that fails must stop the commit."""
        for name, one in self.everyone.items():
            folder = self.folders[name]
            one.configure(folder, job, "false")
            self.commit_all(name)
            self.change(name)
            stopped = not workplace.run(*self.commit(name), folder=folder, may_fail=True)
            if stopped == (name == "no hook" or job.suffix == ".none"):
                raise SystemExit(f"{name} does not do the job {job.name!r}")
            one.configure(folder, job, "true")
            self.commit_all(name)
            if job.edited:
                workplace.write(folder, self.template.path(1), "edited\n")

    def undo_edits(self):
        for folder in self.folders.values():
            workplace.run("git", "checkout", "-q", "--", self.template.path(1), folder=folder)

    def commit_all(self, name):
        folder = self.folders[name]
        workplace.run("git", "add", "--all", folder=folder)
        workplace.run("git", "commit", "-q", "--no-verify", "--allow-empty", "-m", "configuration", folder=folder)

    def change(self, name, files=1):
        """Stages new bytes for some files, never for the edited one."""
        paths = [self.template.path(number) for number in range(files + 1) if number != 1]
        text = f"change {next(TEXTS)}\n"
        for path in paths:
            workplace.write(self.folders[name], path, text)
        workplace.run("git", "add", "--", *paths, folder=self.folders[name])

    def commit(self, name):
        return ["git", "-C", self.folders[name], "commit", "-qm", "change"]

    def measure(self, count, files=1):
        return rounds.interleaved(list(self.everyone), count, lambda name: self.change(name, files), self.commit)

    def memory(self, name):
        """The peaks of its hook's program in one commit: of one at most, of none where it cannot be known."""
        self.change(name)
        peaks = memory.peaks(self.commit(name))
        return [peak for program, peak in peaks.items() if program == self.everyone[name].program]


def bench(clones, count):
    for files, here in clones.items():
        table.head(f"added to `git commit`, {files:,} files, ms", here.everyone)
        peaks = {name: [] for name in here.everyone}
        for job in JOBS:
            here.set_up(job)
            table.line(job.name, rounds.added(here.measure(count)))
            for name in here.everyone:
                peaks[name] += here.memory(name)
            here.undo_edits()
        most = {name: max(found, default=None) for name, found in peaks.items()}
        table.line("peak memory of the hook's program, MiB", most)
