"""A repository of ten thousand manifests in which one image gets a new reference: what a delivery does to the files, beside yq
and sed. Every contestant starts from the same commit; what each has changed is looked at before it counts."""
import os
import shlex
import subprocess

import memory
import rounds
import workplace

FILES = 10_000
REPOSITORY = "registry.example.com/team/flask-app"
NEW = f"{REPOSITORY}:git-3f2a91c@sha256:{'a' * 64}"
MANIFEST = """# {name}: written by hand.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}

spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: {name}
          image: "{image}"   # changed by deliveries
          ports: [{{containerPort: 5000}}]
          resources:
            requests: {{cpu: 10m, memory: 32Mi}}
            limits: {{memory: 64Mi}}
"""


def bench(program, yq, count):
    folder = repository()
    everyone = {"ours": [program, folder, "HEAD", NEW], "sed": sed(folder), "grep, sed": grep_sed(folder)}
    if yq:
        everyone["grep, yq"] = shell(folder, f"grep -rlZ --include=*.yaml flask-app . | xargs -0 -n1 {shlex.quote(yq)} -i {shlex.quote(assignment())}")

    def restore(_):
        workplace.run("git", "checkout", "-q", "--", ".", folder=folder)

    for name, command in everyone.items():
        restore(name)
        workplace.run(*command, folder=folder)
        changed, lines = difference(folder)
        print(f"{name:<48} changes {lines} lines in {changed} files", flush=True)
    times = rounds.interleaved(list(everyone), count, restore, everyone.get)
    medians = {name: sorted(taken)[len(taken) // 2] for name, taken in times.items()}
    if yq:
        # Once: it starts ten thousand processes, since yq writes one file in place for each.
        restore("yq")
        every = shell(folder, f"find . -name '*.yaml' -print0 | xargs -0 -n1 {shlex.quote(yq)} -i {shlex.quote(assignment())}")
        medians["yq"] = rounds.wall(every)
        changed, lines = difference(folder)
        print(f"{'yq':<48} changes {lines} lines in {changed} files", flush=True)
    restore("ours")
    print(f"\none image in {FILES:,} manifests, medians of {count} rounds (yq on every file: one)")
    for name, took in medians.items():
        print(f"{name:<48} {took:10.1f} ms   x{medians['ours'] / took:.4f}")
    for name in ("ours", "sed", "grep, yq"):
        if name in everyone:
            peaks = memory.peaks(everyone[name])
            print(f"{'peak memory, ' + name:<48} {max(peaks.values(), default=0):10.1f} MiB")


def repository():
    folder = os.path.join(workplace.ROOT, "manifests")
    workplace.run("git", "init", "-q", folder)
    for number in range(FILES):
        ours = number == FILES // 2
        name, image = ("flask-app", f"{REPOSITORY}:16") if ours else (f"app-{number}", f"registry.example.com/team/app-{number}:16")
        workplace.write(folder, f"apps/{number % 100}/{number}.yaml", MANIFEST.format(name=name, image=image))
    workplace.run("git", "add", ".", folder=folder)
    workplace.run("git", "commit", "-qm", "first", folder=folder)
    # A mirror that was fetched is one pack.
    workplace.run("git", "repack", "-adq", folder=folder)
    return folder


def sed(folder):
    """As the script of many a pipeline does it; it would change a comment that says the same, too."""
    return shell(folder, f"find . -name '*.yaml' -print0 | xargs -0 sed -i {shlex.quote(substitution())}")


def grep_sed(folder):
    return shell(folder, f"grep -rlZ --include=*.yaml flask-app . | xargs -0 sed -i {shlex.quote(substitution())}")


def substitution():
    return f"s|{REPOSITORY}:[^\"]*|{NEW}|"


def assignment():
    return f'(.. | select(tag == "!!map" and has("image")) | select(.image | test("^{REPOSITORY}[:@]")) | .image) = "{NEW}"'


def shell(folder, script):
    return ["sh", "-c", f"cd {shlex.quote(folder)} && {script}"]


def difference(folder):
    """How many files and lines a contestant has changed."""
    said = subprocess.run(["git", "diff", "--numstat"], cwd=folder, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in said.splitlines()]
    return len(rows), sum(int(added) for added, _, _ in rows)
