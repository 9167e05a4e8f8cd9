"""Flux's source-controller and kustomize-controller: built by Go from their modules, run beside the API server instead of in
pods, with their defaults."""
import json
import os
import subprocess
import sys
import time
import urllib.request

import rivals

# One release of both, but for source-controller: the nearest one whose modules can all be downloaded.
VERSIONS = {"source-controller": "v1.9.3", "kustomize-controller": "v1.9.6"}
STORAGE, FIRST_PORT = 18392, 18393
# Taken before the workplace has another home.
FOLDER = os.path.join(os.path.dirname(rivals.folder()), "flux")


def installed():
    """Whether both are there. Their modules replace a part of themselves by a folder, which `go install` refuses."""
    for name, version in VERSIONS.items():
        if os.path.exists(program(name)):
            continue
        try:
            source = downloaded(f"github.com/fluxcd/{name}@{version}", home(name))
            downloaded(f"github.com/fluxcd/{name}/api@{version}", os.path.join(source, "api"))
            go("build", "-ldflags=-s -w", "-o", program(name), ".", folder=source)
        except (OSError, subprocess.CalledProcessError):
            print(f"{name} is missing: Go could not build it", file=sys.stderr)
            return False
    return True


def home(name):
    return os.path.join(FOLDER, f"{name}-{VERSIONS[name]}")


def program(name):
    return os.path.join(home(name), "bin", name)


def downloaded(module, folder):
    """A copy of the module's sources that can be written to, in this folder."""
    place = json.loads(go("mod", "download", "-json", module))["Dir"]
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["cp", "-rT", place, folder], check=True)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    return folder


def go(*arguments, folder=None):
    path = f"{os.environ['PATH']}:/usr/local/go/bin"
    return subprocess.run(["go", *arguments], cwd=folder, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE,
                          stderr=sys.stderr, text=True, check=True).stdout


def definitions():
    """The folders of the custom resource definitions of both."""
    return [os.path.join(home(name), "config/crd/bases") for name in VERSIONS]


class Controllers:
    """Both, with their state in a folder."""

    def __init__(self):
        self.processes = []

    def start(self, folder):
        environment = os.environ | {"RUNTIME_NAMESPACE": "default", "HOME": folder, "TMPDIR": folder}
        for number, name in enumerate(VERSIONS):
            ports = [FIRST_PORT + 2 * number, FIRST_PORT + 2 * number + 1]
            command = [program(name), f"--metrics-addr=127.0.0.1:{ports[0]}", f"--health-addr=127.0.0.1:{ports[1]}"]
            if name == "source-controller":
                address = f"127.0.0.1:{STORAGE}"
                command += [f"--storage-path={folder}", f"--storage-addr={address}", f"--storage-adv-addr={address}"]
            with open(os.path.join(folder, f"{name}.log"), "w", encoding="utf-8") as log:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        for number in range(len(VERSIONS)):
            self.await_ready(f"http://127.0.0.1:{FIRST_PORT + 2 * number + 1}/readyz", folder)

    def await_ready(self, url, folder):
        end = time.monotonic() + 60
        while True:
            try:
                return urllib.request.urlopen(url, timeout=5).read()
            except OSError:
                if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                    said = "".join(open(os.path.join(folder, f"{name}.log"), encoding="utf-8").read() for name in VERSIONS)
                    raise SystemExit(f"Flux's controllers do not start:\n{said}") from None
                time.sleep(0.2)

    def pids(self):
        return [process.pid for process in self.processes]

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def objects(name, url, credentials, wait):
    """What tells them to apply the folder `staging` of the branch main into the namespace."""
    def read(file):
        with open(os.path.join(credentials, file), encoding="utf-8") as text:
            return text.read()

    def made(version, kind, **rest):
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": name}, **rest}

    return {"apiVersion": "v1", "kind": "List", "items": [
        made("v1", "Secret", stringData={file: read(file) for file in ("identity", "known_hosts")}),
        made("source.toolkit.fluxcd.io/v1", "GitRepository", spec={
            "url": url, "interval": "1h", "ref": {"branch": "main"}, "secretRef": {"name": name}}),
        made("kustomize.toolkit.fluxcd.io/v1", "Kustomization", spec={
            "interval": "1h", "path": "./staging", "prune": True, "targetNamespace": name, "wait": wait,
            "sourceRef": {"kind": "GitRepository", "name": name}})]}
