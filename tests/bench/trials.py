"""The trials. Each makes a repository, gives a manager a step, and does what people do; it gives nothing where all that is the
user's is as it should be, else one sentence on what is not. Its first line is its name in the table."""
import os
import signal
import subprocess
import time

import workplace

FIX = "sed -i s/BAD/GOOD/ \"$@\""


class Lost(Exception):
    """What a manager did wrong."""


def verdict(trial, manager):
    """Nothing, or what went wrong."""
    try:
        trial(manager)
    except Lost as lost:
        return str(lost)
    return None


class Repository:
    """A repository with a file `f` on `main`, and a bare remote; the step is a script outside of it."""

    def __init__(self, trial, manager, hook, script, fixes=None, files=None):
        self.root = os.path.join(workplace.ROOT, f"{trial}-{manager.name}")
        self.folder = os.path.join(self.root, "repository")
        os.makedirs(self.folder)
        self.git("init", "-q")
        step = workplace.write(self.root, "step", f"#!/bin/sh\n{script}\n")
        os.chmod(step, 0o755)
        for path, text in (files or {"f": "first\n"}).items():
            self.write(path, text)
        manager.configure(self.folder, hook, step, fixes)
        self.git("add", ".")
        self.git("commit", "-q", "--no-verify", "-m", "first")
        self.git("init", "-q", "--bare", os.path.join(self.root, "remote"))
        self.git("remote", "add", "origin", os.path.join(self.root, "remote"))

    def git(self, *argv, folder=None):
        done = subprocess.run(["git", *argv], cwd=folder or self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"git {' '.join(argv)} failed in {self.folder}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def user(self, *argv, folder=None):
        """git with its hooks, as the user calls it; gives whether it succeeded."""
        return workplace.run("git", *argv, folder=folder or self.folder, may_fail=True)

    def write(self, path, text):
        workplace.write(self.folder, path, text)

    def read(self, path):
        try:
            with open(os.path.join(self.folder, path)) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def commit_past_the_hooks(self, path, text):
        self.write(path, text)
        self.git("add", path)
        self.git("commit", "-q", "--no-verify", "-m", text)


def expect(holds, why):
    if not holds:
        raise Lost(why)


def same_line(manager):
    """An unstaged edit and a fixer on the same line"""
    here = Repository("line", manager, "pre-commit", FIX, fixes="f")
    here.write("f", "BAD, staged\n")
    here.git("add", "f")
    here.write("f", "BAD, edited on\n")
    committed = here.user("commit", "-qm", "x")
    expect("edited on" in here.read("f"), f"the edit is gone, the file is {here.read('f')!r}")
    fixed_or_told(here, committed, "GOOD, staged\n")


def other_line(manager):
    """An unstaged edit and a fixer on other lines"""
    middle = "\n".join(str(number) for number in range(20))
    here = Repository("lines", manager, "pre-commit", FIX, fixes="f", files={"f": f"one\n{middle}\nlast\n"})
    here.write("f", f"BAD\n{middle}\nlast\n")
    here.git("add", "f")
    here.write("f", f"BAD\n{middle}\nlast, edited\n")
    committed = here.user("commit", "-qm", "x")
    expect(here.read("f").endswith("last, edited\n"), "the edit is gone")
    fixed_or_told(here, committed, f"GOOD\n{middle}\nlast\n")


def fixed_or_told(here, committed, fixed):
    """The commit has the fix and not the edit; who refuses it instead must not lose the fix."""
    if committed:
        expect(here.git("show", "HEAD:f") == fixed, f"the commit has {here.git('show', 'HEAD:f')!r}")
    else:
        kept = "GOOD" in here.git("show", ":f") or "GOOD" in here.read("f")
        expect(kept, "the commit is refused, and neither the index nor the file has the fix")


NESTED = "set -e; cd \"$(mktemp -d)\"; git init -q; echo x > x; git add x; git -c user.name=n -c user.email=n@n commit -qm nested"


def nested(manager, linked):
    here = Repository(f"nested-{linked}", manager, "pre-commit", NESTED)
    folder = here.folder
    if linked:
        folder = os.path.join(here.root, "linked")
        here.git("worktree", "add", "-q", "-b", "side", folder)
    workplace.write(folder, "f", "second\n")
    # git hands a hook of `commit -a` the index by name.
    here.user("commit", "-qam", "mine", folder=folder)
    expect("nested" not in here.git("log", "--all", "--format=%s"), "the step's commit is on the user's branch")
    expect(here.git("log", "-1", "--format=%s", folder=folder) == "mine\n", "the step fails, and the commit with it")
    expect(here.git("ls-tree", "-r", "--name-only", "HEAD", "x", folder=folder) == "", "the step's file is in the commit")


def nested_in_main(manager):
    """`commit -a` with a step that makes a commit in a temporary folder"""
    nested(manager, linked=False)


def nested_in_linked(manager):
    """The same from a linked work tree"""
    nested(manager, linked=True)


def pushes(trial, manager):
    here = Repository(trial, manager, "pre-push", "! grep BAD f")
    here.git("push", "-q", "--no-verify", "origin", "main")
    return here


def not_on_the_remote(here, branch):
    expect(not here.git("ls-remote", "origin", f"refs/heads/{branch}"), f"the bad branch {branch} was pushed")


def not_checked_out(manager):
    """A push of a bad branch that is not checked out"""
    here = pushes("elsewhere", manager)
    here.git("switch", "-qc", "bad")
    here.commit_past_the_hooks("f", "BAD\n")
    here.git("switch", "-q", "main")
    here.user("push", "-q", "origin", "bad")
    not_on_the_remote(here, "bad")


def second_reference(manager):
    """A push of two branches, the second of them bad"""
    here = pushes("two", manager)
    here.git("switch", "-qc", "z-bad")
    here.commit_past_the_hooks("f", "BAD\n")
    here.git("switch", "-qc", "a-good", "main")
    here.commit_past_the_hooks("g", "good\n")
    here.user("push", "-q", "origin", "a-good", "z-bad")
    not_on_the_remote(here, "z-bad")


def fixed_in_work_tree(manager):
    """A push of a bad commit, whose fix is in the work tree alone"""
    here = pushes("uncommitted", manager)
    here.git("switch", "-qc", "bad")
    here.commit_past_the_hooks("f", "BAD\n")
    here.write("f", "mended\n")
    here.user("push", "-q", "origin", "bad")
    not_on_the_remote(here, "bad")
    expect(here.read("f") == "mended\n", "the mended file is gone")


def forgotten_add(manager):
    """A new file that a staged one needs was not added"""
    here = Repository("forgotten", manager, "pre-commit", "sh main.sh", files={"main.sh": "true\n"})
    here.write("main.sh", ". ./new.sh\n")
    here.write("new.sh", "true\n")
    here.git("add", "main.sh")
    expect(not here.user("commit", "-qm", "x"), "the commit went through without the file")


def killed(manager):
    """kill -9 in the middle of a fixer, with an unstaged edit"""
    script = "echo half > f; echo $$ > \"$BEGUN.new\"; mv \"$BEGUN.new\" \"$BEGUN\"; sleep 30"
    here = Repository("killed", manager, "pre-commit", script, fixes="f", files={"f": "one\n", "g": "one\n"})
    for name in ("f", "g"):
        here.write(name, "staged\n")
    here.git("add", "f", "g")
    here.write("g", "staged, edited\n")
    begun = os.environ["BEGUN"] = os.path.join(here.root, "begun")
    commit = subprocess.Popen(["git", "commit", "-qm", "x"], cwd=here.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(begun):
        if commit.poll() is not None:
            raise SystemExit(f"{manager.name} did not run the fixer")
        time.sleep(0.01)
    with open(begun) as file:
        step = int(file.read())
    between = []
    above = parent(step)
    while above not in (commit.pid, 1):
        between.append(above)
        above = parent(above)
    # The manager first, and nobody may put anything away; then what it had begun.
    for pid in reversed([step, *between]):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    commit.wait()
    expect(here.read("g") == "staged, edited\n", f"the unstaged edit is gone, the file is {here.read('g')!r}")
    expect(here.read("f") == "staged\n", f"the file that was being fixed is {here.read('f')!r}")
    expect(here.git("show", ":f") == "staged\n", "the index is another one")


def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


ALL = [
    same_line,
    other_line,
    killed,
    nested_in_main,
    nested_in_linked,
    forgotten_add,
    fixed_in_work_tree,
    not_checked_out,
    second_reference,
]
