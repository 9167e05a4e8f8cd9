"""Where the benchmark works: a home, a cache and repositories of its own, so that nothing of the user's counts or changes."""
import os
import subprocess

ROOT = None


def enter(folder):
    """Makes `folder` the home of everything that is started from now on, and forgets what would steer git or a rival."""
    global ROOT
    ROOT = folder
    steering = ("GIT_", "GITOPS_HOOKS", "LEFTHOOK", "PREK", "PRE_COMMIT", "XDG_")
    for name in [name for name in os.environ if name.startswith(steering)] + ["CI"]:
        os.environ.pop(name, None)
    home = os.path.join(folder, "home")
    os.makedirs(home)
    os.environ |= {"HOME": home, "XDG_CACHE_HOME": os.path.join(folder, "cache"), "PREK_HOME": os.path.join(folder, "prek")}
    with open(os.path.join(home, ".gitconfig"), "w") as config:
        # Packing in the middle of a round would be one contestant's bad luck.
        config.write("[user]\n\tname = bench\n\temail = bench@example.com\n[gc]\n\tauto = 0\n[init]\n\tdefaultBranch = main\n")


def run(*argv, folder=None, may_fail=False):
    """Runs a command that is not measured; gives whether it succeeded."""
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 and not may_fail:
        raise SystemExit(f"{' '.join(argv)} failed in {folder}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def write(folder, path, text):
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def path(number, folders):
    """The path of a file: files are spread over folders evenly."""
    return f"src/{number % folders}/{number}.txt"


class Template:
    """A repository of `files` files in at least ten folders, from which each contestant gets a clone."""

    def __init__(self, files):
        self.files, self.folders = files, max(10, files // 100)
        self.folder = os.path.join(ROOT, f"template-{files}")
        run("git", "init", "-q", self.folder)
        for number in range(files):
            write(self.folder, path(number, self.folders), f"{number}\n")
        run("git", "add", ".", folder=self.folder)
        run("git", "commit", "-qm", "first", folder=self.folder)
        # A real clone is packed too; loose objects would make the first checkout of each clone slow.
        run("git", "repack", "-adq", folder=self.folder)

    def clone(self, name):
        folder = os.path.join(ROOT, f"{name}-{self.files}")
        run("git", "clone", "-q", self.folder, folder)
        return folder

    def path(self, number):
        return path(number, self.folders)
