"""The third table: an image from commit to registry, beside `docker build` with `docker push` and `docker buildx build --push`,
on the engine and registry of the test bed. Without those, or without the rivals' programs, it is left out with a sentence.
What is measured of ours is the whole of its pre-push hook: the steps are planned and recorded, too."""
import os
import shutil
import statistics
import subprocess
import sys
import time

import rounds
import workplace

# Built once; go.mod and go.sum beside this file pin and verify every source.
BUILDX = "github.com/docker/buildx/cmd/buildx"


def bench(binary, count):
    registry, base = os.environ.get("BENCH_REGISTRY"), os.environ.get("BENCH_BASE")
    if not (registry and base and os.environ.get("DOCKER_HOST")):
        print("\nimages are left out: they need the engine and registry of the test bed", file=sys.stderr)
        return
    rivals = {name: rival for name, rival in (("docker build", docker()), ("buildx", buildx())) if rival}
    names = [*rivals, "ours"]
    print(f"\n{f'images, medians of {count} rounds, ms':<40}" + "".join(f"{name:>14}" for name in names) + f"{'x best':>10}")
    for files in (10, 5000):
        place = Place(files, registry, base, binary, rivals)
        for title, prepare in (("unchanged", place.nothing), ("one file changed, build and push", place.change)):
            times = {name: [] for name in names}
            for number in range(count + 1):
                for name in names:
                    prepare(name)
                    took = place.measure(name)
                    if number > 0:
                        times[name].append(took)
            medians = {name: statistics.median(column) for name, column in times.items()}
            best = min((medians[name] for name in rivals), default=None)
            cells = "".join(f"{medians[name]:>14.0f}" for name in names)
            ratio = f"x{medians['ours'] / best:.2f}" if best else "-"
            print(f"{f'{title}, {files:,} files':<40}{cells}{ratio:>10}", flush=True)


class Place:
    """A clone for each contestant, with its image built and published once."""

    def __init__(self, files, registry, base, binary, rivals):
        self.binary, self.rivals, self.number = binary, rivals, 0
        template = workplace.Template(files)
        self.template, self.folders, self.names = template, {}, {}
        for name in [*rivals, "ours"]:
            folder = self.folders[name] = template.clone(f"image-{name.replace(' ', '-')}")
            unique = f"{os.getpid()}-{time.time_ns()}"
            self.names[name] = f"{registry}/bench/{name.replace(' ', '-')}-{unique}"
            workplace.write(folder, "Dockerfile", f"FROM {base}\nCOPY . /app/\nRUN true\n")
            workplace.write(folder, ".dockerignore", ".git\n")
            if name == "ours":
                self.configure(folder)
            self.commit(folder)
            self.measure(name)

    def configure(self, folder):
        lines = [
            "hooks:", "  pre-push:", "    - image: web", "images:", "  web:", f"    repository: {self.names['ours']}",
            "    plain_http: true", "environments:", "  staging:", "    branch: main",
            f"    manifests: {{ url: 'file://{folder}-manifests', branch: main, path: staging }}", "    images: [web]",
        ]
        workplace.write(folder, ".gitops-hooks.yaml", "\n".join(lines) + "\n")
        workplace.run(self.binary, "install", "--yes", folder=folder)

    def commit(self, folder):
        workplace.run("git", "add", "-A", folder=folder)
        workplace.run("git", "commit", "-qm", "next", "--allow-empty", "--no-verify", folder=folder)

    def nothing(self, name):
        self.commit(self.folders[name])

    def change(self, name):
        self.number += 1
        workplace.write(self.folders[name], self.template.path(7), f"change {self.number}\n")
        self.commit(self.folders[name])

    def measure(self, name):
        if name == "ours":
            tip = subprocess.run(["git", "rev-parse", "HEAD", "origin/main"], cwd=self.folders[name], capture_output=True, text=True)
            head, base = tip.stdout.split()
            line = f"refs/heads/main {head} refs/heads/main {base}"
            script = f"cd {self.folders[name]} && echo '{line}' | {self.binary} hook pre-push origin {self.template.folder}"
        else:
            script = f"cd {self.folders[name]} && {self.rivals[name].format(name=self.names[name])}"
        return rounds.wall(["sh", "-c", script])


def docker():
    program = shutil.which("docker")
    if not program:
        print("docker is missing: `docker build` is left out", file=sys.stderr)
        return None
    return f"{program} build -q -t {{name}}:latest . && {program} push -q {{name}}:latest"


def buildx():
    cache = os.environ.get("BENCH_CACHE") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "gitops-hooks", "bench", "docker")
    program = os.path.join(folder, "buildx")
    if not os.path.exists(program):
        module = os.path.join(os.path.dirname(os.path.realpath(__file__)), "buildx")
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
        go = ["go", "-C", module, "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", program, BUILDX]
        if not shutil.which("go") or subprocess.run(go, env=environment).returncode != 0:
            print("buildx is missing: its Go module could not be built", file=sys.stderr)
            return None
    return f"{program} build --quiet --push -t {{name}}:latest ."
