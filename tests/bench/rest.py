"""The second table: a long list of files, many steps, pushes whose steps have all passed before, and scratch trees."""
import os

import rounds
import table
import workplace
from contestants import Job

FRESH = 3


def bench(clones, count):
    table.head(f"beyond one commit, medians of {count} rounds, ms", clones[100].everyone)
    many = clones[10_000]
    many.set_up(Job("1,000 files", suffix=".txt", handed_over=True))
    table.line("1,000 of 10,000 files for one step", rounds.added(many.measure(count, files=1000)))
    few = clones[100]
    few.set_up(Job("200 steps", steps=200))
    table.line("200 no-op steps in one hook, 100 files", rounds.added(few.measure(count)))
    scratch(many)
    for here in (few, many):
        push(here, count)


def scratch(here):
    """A commit with an edit that is not staged, which ours judges in a scratch tree: made at the first use, kept for the
    second."""
    here.set_up(Job("scratch tree", edited=True))
    bare = rounds.interleaved(["no hook"], 2 * FRESH, here.change, here.commit)["no hook"]
    uses = {"first": [], "second": []}
    for number in range(FRESH):
        os.environ["XDG_CACHE_HOME"] = os.path.join(workplace.ROOT, f"fresh-{number}")
        for use in uses.values():
            here.change("ours")
            use.append(rounds.wall(here.commit("ours")))
    for name, times in uses.items():
        medians = rounds.added({"no hook": bare[:FRESH], "ours": times})
        table.line(f"scratch tree of 10,000 files, {name} use", {who: medians.get(who) for who in here.everyone})
    here.undo_edits()


def push(here, count):
    """`git push` to a folder, of a commit whose steps were all run by hand before: only the records are looked up."""
    names = ["no hook", "ours"]
    ours = here.everyone["ours"]
    for name in names:
        folder = here.folders[name]
        remote = os.path.join(workplace.ROOT, f"remote-{name}-{here.template.files}")
        workplace.run("git", "init", "-q", "--bare", remote)
        workplace.run("git", "remote", "set-url", "origin", remote, folder=folder)
        if name == "ours":
            ours.configure(folder, Job("push"), "false", hook="pre-push")
            here.commit_all(name)
            if workplace.run(*pushing(folder), folder=folder, may_fail=True):
                raise SystemExit("ours does not judge what is pushed")
            ours.configure(folder, Job("push"), "true", hook="pre-push")
        here.commit_all(name)
        workplace.run("git", "push", "-q", "--no-verify", "origin", "main", folder=folder)

    def prepare(name):
        here.change(name)
        here.commit_all(name)
        if name == "ours":
            workplace.run(ours.program, "run", "pre-push", folder=here.folders[name])

    medians = rounds.added(rounds.interleaved(names, count, prepare, lambda name: pushing(here.folders[name])))
    name = f"push, all steps recorded, {here.template.files:,} files"
    table.line(name, {who: medians.get(who) for who in here.everyone})


def pushing(folder):
    return ["git", "-C", folder, "push", "-q", "origin", "main"]
