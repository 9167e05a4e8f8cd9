"""How each hook manager is told the same: a step for pre-commit or pre-push, which may change the files that it is handed."""
import os

import workplace


class PreCommit:
    """pre-commit, and prek, which reads the same file."""

    def __init__(self, name, program):
        self.name, self.program = name, program

    def configure(self, folder, hook, command, fixes=None):
        lines = ["repos:", "  - repo: local", "    hooks:", "      - id: step", "        name: step", "        language: system"]
        lines += [f"        entry: {command}", f"        stages: [{hook}]"]
        lines += [f"        files: ^{fixes}$"] if fixes else ["        pass_filenames: false", "        always_run: true"]
        workplace.write(folder, ".pre-commit-config.yaml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", "-t", hook, folder=folder)


class Lefthook:
    def __init__(self, program):
        self.name, self.program = "lefthook", program
        os.environ["LEFTHOOK_BIN"] = program

    def configure(self, folder, hook, command, fixes=None):
        lines = [f"{hook}:", "  jobs:", "    - name: step", f"      run: {command}" + (" {staged_files}" if fixes else "")]
        if fixes:
            lines += [f"      glob: {fixes}", "      stage_fixed: true"]
        workplace.write(folder, "lefthook.yml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", "-f", folder=folder)


class Ours:
    def __init__(self, program):
        self.name, self.program = "ours", program

    def configure(self, folder, hook, command, fixes=None):
        lines = ["hooks:", f"  {hook}:", "    - name: step", f"      run: {command}" + (" {files}" if fixes else "")]
        if fixes:
            lines += [f"      files: [{fixes}]", "      fix: true"]
        workplace.write(folder, ".gitops-hooks.yaml", "\n".join(lines) + "\n")
        workplace.run(self.program, "install", "--yes", folder=folder)


def everyone(binary, found):
    """All that take part, ours last."""
    programs = {name: program for name, (program, _) in found.items()}
    rivals = [PreCommit(name, programs[name]) for name in ("pre-commit", "prek") if name in programs]
    rivals += [Lefthook(programs["lefthook"])] if "lefthook" in programs else []
    return [*rivals, Ours(binary)]
