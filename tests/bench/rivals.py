"""prek, lefthook and pre-commit, installed once from their PyPI packages into the user's cache folder. Those of prek and
lefthook hold the native program, which is called directly: a wrapper in an interpreted language would cost them what is not
theirs."""
import glob
import os
import subprocess
import sys

PLACES = {"prek": "bin/prek", "lefthook": "lib/python3*/site-packages/lefthook/bin/*/lefthook", "pre-commit": "bin/pre-commit"}


def installed(names=("prek", "lefthook")):
    """The programs and their versions, by name. One that cannot be had is left out, with a sentence on standard error."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "gitops-hooks", "bench", "rivals")
    found = {}
    for name in names:
        place = PLACES[name]
        path = program(folder, place) or (install(folder, name) and program(folder, place))
        if not path:
            print(f"{name} is missing: `python3 -m venv` and pip could not install its PyPI package", file=sys.stderr)
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()
        found[name] = (path, next((word for word in said if word[0].isdigit()), "of an unknown version"))
    return found


def program(folder, place):
    return next((os.path.realpath(path) for path in glob.glob(os.path.join(folder, place))), None)


def install(folder, name):
    pip = os.path.join(folder, "bin", "pip")
    commands = [[sys.executable, "-m", "venv", folder]] if not os.path.exists(pip) else []
    commands.append([pip, "install", "-q", "--disable-pip-version-check", "--upgrade", name])
    return all(subprocess.run(command, stdout=sys.stderr).returncode == 0 for command in commands)
