"""Who takes part, and how each is told to do the same: its quickest honest configuration. Steps run side by side where a
contestant can do that; nobody is given a wrapper, a search for the program or a look for updates."""
import dataclasses
import os
import shutil

import workplace


@dataclasses.dataclass(frozen=True)
class Job:
    """What a hook has to do: a number of equal steps, perhaps only for files that match, perhaps with them as arguments."""

    name: str
    steps: int = 1
    suffix: str | None = None
    handed_over: bool = False
    # Another tracked file has an edit that is not staged.
    edited: bool = False


class Nobody:
    """git without a hook."""

    name, program = "no hook", None

    def configure(self, folder, job, command):
        pass


class Shell:
    """A hook as people write it who want no tool: it knows nothing of records, time limits or edits that are not staged."""

    name = "shell"

    def __init__(self):
        self.program = os.path.realpath(shutil.which("sh"))

    def configure(self, folder, job, command):
        matching = f"--diff-filter=d -- '*{job.suffix}'"
        if job.handed_over:
            step = f"git diff --cached --name-only -z {matching} | xargs -0 -r {command}"
        elif job.suffix:
            step = f"git diff --cached --quiet {matching} || sh -c {command}"
        else:
            step = f"sh -c {command}"
        script = "#!/bin/sh\n" + f"{step} || exit 1\n" * job.steps
        os.chmod(workplace.write(folder, ".git/hooks/pre-commit", script), 0o755)


class Prek:
    name = "prek"

    def __init__(self, program):
        self.program = program

    def configure(self, folder, job, command):
        lines = ["repos:", "  - repo: local", "    hooks:"]
        for number in range(job.steps):
            # Hooks of one priority run side by side; without `require_serial` a long list is cut into several calls.
            lines += [f"      - id: step-{number}", f"        name: step-{number}", "        language: system"]
            lines += [f'        entry: "{command}"', "        priority: 0", "        require_serial: true"]
            lines += [f"        pass_filenames: {str(job.handed_over).lower()}"]
            if job.suffix:
                lines.append(f"        files: '\\{job.suffix}$'")
        workplace.write(folder, ".pre-commit-config.yaml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", folder=folder)


class Lefthook:
    name = "lefthook"

    def __init__(self, program):
        self.program = program
        # Without it the hook starts the program once more, to see whether it is there.
        os.environ["LEFTHOOK_BIN"] = program

    def configure(self, folder, job, command):
        lines = ["pre-commit:", "  parallel: true", "  jobs:"]
        for number in range(job.steps):
            files = " {staged_files}" if job.handed_over else ""
            lines += [f"    - name: step-{number}", f'      run: "{command}{files}"']
            if job.suffix:
                lines.append(f'      glob: "*{job.suffix}"')
        workplace.write(folder, "lefthook.yml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", "-f", folder=folder)


class Ours:
    """Never helped by a record in the commits: each has a new tree, and steps without `inputs` depend on all of it."""

    name = "ours"

    def __init__(self, program):
        self.program = program

    def configure(self, folder, job, command, hook="pre-commit"):
        lines = ["hooks:", f"  {hook}:"]
        for number in range(job.steps):
            files = " {files}" if job.handed_over else ""
            lines += [f"    - name: step-{number}", f'      run: "{command}{files}"']
            if job.suffix:
                lines.append(f'      files: ["*{job.suffix}"]')
        workplace.write(folder, ".gitops-hooks.yaml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", "--yes", folder=folder)


def everyone(binary, found):
    """All contestants by name, in the order of the table."""
    rivals = [kind(found[kind.name][0]) for kind in (Prek, Lefthook) if kind.name in found]
    return {one.name: one for one in [Nobody(), Shell(), *rivals, Ours(binary)]}
