"""What a push costs whose image is published already: its key, and one question to the registry; beside `docker build` of the same
folder, where there is a docker. Needs the test bed's variables, and says so without them."""
import json
import os
import shutil
import statistics

import rounds
import workplace

FILES = (10, 5_000)

# Read before anything is forgotten of the environment.
ENGINE, REGISTRY = os.environ.get("DOCKER_HOST"), os.environ.get("GITOPS_HOOKS_TEST_REGISTRY")


def bench(binary, count):
    if not (ENGINE and REGISTRY):
        print("images: not measured without an engine and a registry (make testbed)")
        return
    names = ["image key", "image build"] + (["docker build"] if shutil.which("docker") else [])
    head = f"an image that is published, medians of {count} rounds, ms"
    print(f"\n{head:<56}" + "".join(f"{name:>14}" for name in names))
    for files in FILES:
        folder = source(binary, REGISTRY, files)
        commands = {
            "image key": [binary, "image", "key", "web"],
            "image build": [binary, "image", "build", "-q"],
            "docker build": ["docker", "build", "-q", "."],
        }
        here = os.getcwd()
        os.chdir(folder)
        times = rounds.interleaved(names, count, lambda _: None, commands.get)
        os.chdir(here)
        medians = [statistics.median(times[name]) for name in names]
        print(f"{f'{files:,} files in the context':<56}" + "".join(f"{took:14.1f}" for took in medians))


def source(binary, registry, files):
    """A clone whose image was built and pushed."""
    folder = os.path.join(workplace.ROOT, f"published-{files}")
    os.makedirs(folder)
    git = lambda *words: workplace.run("git", *words, folder=folder)
    remote = f"{folder}.git"
    workplace.run("git", "init", "-q", "--bare", "-b", "main", remote)
    git("init", "-q", "-b", "main")
    for number in range(files):
        path = os.path.join(folder, f"d{number // 100}", f"f{number}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"{folder} {number}\n")
    with open(os.path.join(folder, "Dockerfile"), "w") as file:
        file.write("FROM scratch\nCOPY . /\n")
    manifests = f"{folder}-manifests.git"
    workplace.run("git", "init", "-q", "--bare", "-b", "main", manifests)
    configuration = {
        "hooks": {"pre-push": [{"image": "web"}]},
        "images": {"web": {"repository": f"{registry}/bench{os.getpid()}/files-{files}", "plain_http": True}},
        # Only what an environment delivers is published. The delivery itself may fail: nothing here waits for it.
        "environments": {"bench": {"branch": "main", "images": ["web"], "manifests": {"url": manifests}}},
    }
    with open(os.path.join(folder, ".gitops-hooks.yaml"), "w") as file:
        json.dump(configuration, file)
    git("add", ".")
    git("commit", "-qm", "one")
    git("remote", "add", "origin", remote)
    workplace.run(binary, "install", "--yes", folder=folder)
    git("push", "-q", "-u", "origin", "main")
    return folder


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gitops-hooks-bench-") as folder:
        workplace.enter(folder)
        bench(os.path.realpath(sys.argv[1]), int(os.environ.get("BENCH_ROUNDS", "10")))
