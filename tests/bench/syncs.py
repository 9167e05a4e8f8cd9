"""What makes a cluster what a repository says, as a process beside the API server: ours, and Flux's controllers. Each has a
namespace and a repository of its own, all gone afterwards."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import flux
import workplace

# Taken before the workplace forgets it.
BED = {name: value for name, value in os.environ.items() if name.startswith("GITOPS_HOOKS_TEST")}
SYSTEM = "gitops-hooks-system"
PORT, PROXY = 18391, 18390


def program():
    return shutil.which("kubectl") or os.path.join(BED["GITOPS_HOOKS_TESTBED_CACHE"], "bin/kubectl")


def kubectl(*arguments, stdin=None, may_fail=False):
    done = subprocess.run([program(), *arguments], input=stdin, text=True, capture_output=True, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


class Watched:
    """The lines that a watch prints, each with the moment at which it came."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([program(), *arguments, "--watch"], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL)
        self.lines = []
        self.came = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.came:
                self.lines.append((time.monotonic(), line.strip()))
                self.came.notify_all()

    def until(self, fits, limit=300):
        """The moment of the first line that fits."""
        end = time.monotonic() + limit
        with self.came:
            while True:
                for moment, line in self.lines:
                    if fits(line):
                        return moment
                if not self.came.wait(end - time.monotonic()):
                    raise SystemExit(f"waited in vain; last: {self.lines[-1:]}")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Repository:
    """A namespace, and a repository with a folder `staging` for it."""

    def __init__(self, name):
        self.name = f"bench-{name}-{os.getpid()}"
        self.folder = os.path.join(workplace.ROOT, self.name)
        self.bare = os.path.join(BED["GITOPS_HOOKS_TEST_GIT_ROOT"], f"{self.name}.git")
        self.url = f"{BED['GITOPS_HOOKS_TEST_GIT_SSH']}{self.name}.git"
        self.credentials = os.path.join(self.folder, "credentials")
        self.staging = os.path.join(self.folder, "work/staging")
        self.proxy = self.told = None

    def __enter__(self):
        kubectl("create", "namespace", self.name)
        os.makedirs(self.credentials)
        os.makedirs(self.staging)
        for name, variable in (("identity", "DEPLOY_KEY"), ("known_hosts", "KNOWN_HOSTS")):
            shutil.copy(BED[f"GITOPS_HOOKS_TEST_{variable}"], os.path.join(self.credentials, name))
        workplace.run("git", "init", "-q", "--bare", "-b", "main", self.bare)
        workplace.run("git", "init", "-q", "-b", "main", folder=os.path.join(self.folder, "work"))
        self.proxy = subprocess.Popen([program(), "proxy", f"--port={PROXY}"], stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.end()
        if self.told:
            self.told.stop()
        self.proxy.terminate()
        self.proxy.wait()
        kubectl("delete", "namespace", self.name, "--wait=false", may_fail=True)
        shutil.rmtree(self.bare, ignore_errors=True)

    def commit(self):
        folder = os.path.join(self.folder, "work")
        workplace.run("git", "add", "-A", folder=folder)
        workplace.run("git", "-c", "user.name=B", "-c", "user.email=b@example.com", "commit", "-q", "-m", "change",
                      folder=folder)
        workplace.run("git", "push", "-q", self.bare, "main", folder=folder)
        return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, text=True, capture_output=True,
                              check=True).stdout.strip()

    def annotate(self, path, key):
        """Gives an object a new annotation and says which, without the time that `kubectl` takes to start."""
        token = str(time.time_ns())
        patch = json.dumps({"metadata": {"annotations": {key: token}}}).encode()
        headers = {"Content-Type": "application/merge-patch+json"}
        request = urllib.request.Request(f"http://127.0.0.1:{PROXY}/{path}", patch, headers, method="PATCH")
        urllib.request.urlopen(request, timeout=30).read()
        return token

    def processor(self):
        """Seconds of CPU time that it has used."""
        return sum(map(processor, self.pids()))

    def memory(self):
        """Memory now and at its peak, in MiB."""
        now = peak = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+)", file.read()))
            now, peak = now + int(found["VmRSS"]) / 1024, peak + int(found["VmHWM"]) / 1024
        return now, peak


class Ours(Repository):
    def __init__(self, binary, name):
        super().__init__(name)
        self.binary, self.sync = binary, None

    def start(self, wait=True):
        """Starts it and gives the moment. It waits for health in any case."""
        del wait
        kubectl("create", "namespace", SYSTEM, may_fail=True)
        kubectl("-n", SYSTEM, "create", "configmap", f"gitops-hooks-{self.name}")
        settings = {"environment": self.name, "namespace": self.name, "branch": "main", "path": "staging",
                    "url": self.url, "interval": "1h", "credentials": self.credentials,
                    "data": os.path.join(self.folder, "data"), "port": PORT}
        with open(os.path.join(self.folder, "sync.yaml"), "w", encoding="utf-8") as file:
            json.dump(settings, file)
        self.told = Watched("-n", SYSTEM, "get", "configmap", "-o", "jsonpath={.data.report\\.json}{\"\\n\"}",
                            "--field-selector", f"metadata.name=gitops-hooks-report-{self.name}")
        time.sleep(1)
        moment = time.monotonic()
        with open(os.path.join(self.folder, "log"), "w", encoding="utf-8") as log:
            self.sync = subprocess.Popen([self.binary, "sync", "--config", os.path.join(self.folder, "sync.yaml")],
                                         stdout=log, stderr=log)
        return moment

    def end(self):
        if self.sync:
            self.sync.terminate()
            self.sync.wait()
        own = [f"gitops-hooks-{self.name}", f"gitops-hooks-report-{self.name}", f"gitops-hooks-inventory-{self.name}"]
        own += [f"gitops-hooks-inventory-{self.name}.{shard}" for shard in range(1, 8)]
        kubectl("-n", SYSTEM, "delete", "configmap", "--ignore-not-found", "--wait=false", *own, may_fail=True)
        kubectl("-n", SYSTEM, "delete", "lease", "--ignore-not-found", f"gitops-hooks-{self.name}", may_fail=True)

    def healthy(self, commit):
        """The moment at which the report says that this commit is healthy."""
        return self.told.until(lambda line: commit in line and '"phase":"healthy"' in line)

    def nudge(self):
        self.annotate(f"api/v1/namespaces/{SYSTEM}/configmaps/gitops-hooks-{self.name}", "gitops-hooks.dev/nudge")

    def look(self):
        """Has it look at a branch where nothing is new, until it has."""
        polls = self.polls() + 1
        self.nudge()
        while self.polls() < polls:
            time.sleep(0.02)

    def polls(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return sum(int(count) for count in re.findall(r"gitops_hooks_polls_total\{[^}]*\} (\d+)", text))

    def pids(self):
        return [self.sync.pid]


class Flux(Repository):
    REQUEST = "reconcile.fluxcd.io/requestedAt"

    def __init__(self, name):
        super().__init__(f"flux-{name}")
        self.controllers = flux.Controllers()

    def start(self, wait=False):
        """Tells its controllers, which run, what to do, and gives the moment at which the API server had that. Whether it waits
        for health is a choice there."""
        data = os.path.join(self.folder, "data")
        os.makedirs(data)
        kubectl("apply", *self.definitions())
        kubectl("wait", "--for=condition=established", *self.definitions())
        self.controllers.start(data)
        state = "{.status.lastAppliedRevision} {.status.lastHandledReconcileAt}"
        state += " {.status.observedGeneration} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}"
        self.told = Watched("-n", self.name, "get", "kustomization.kustomize.toolkit.fluxcd.io", "-o", f"jsonpath={state}")
        time.sleep(5)
        kubectl("create", "-f", "-", stdin=json.dumps(flux.objects(self.name, self.url, self.credentials, wait)))
        return self.told.until(lambda _: True)

    @staticmethod
    def definitions():
        return [word for folder in flux.definitions() for word in ("-f", folder)]

    def end(self):
        self.controllers.stop()
        free = json.dumps({"metadata": {"finalizers": []}})
        for kind in ("kustomization.kustomize.toolkit.fluxcd.io", "gitrepository.source.toolkit.fluxcd.io"):
            kubectl("-n", self.name, "patch", kind, self.name, "--type=merge", "-p", free, may_fail=True)
        kubectl("delete", *self.definitions(), may_fail=True)

    def healthy(self, commit):
        """The moment at which it says that it is ready with this commit."""
        return self.told.until(lambda line: commit in line and line.endswith("True"), limit=900)

    def nudge(self):
        self.annotate(f"apis/source.toolkit.fluxcd.io/v1/namespaces/{self.name}/gitrepositories/{self.name}", self.REQUEST)

    def look(self):
        """Has it look at a source where nothing is new, until it has."""
        path = f"apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{self.name}/kustomizations/{self.name}"
        token = self.annotate(path, self.REQUEST)
        self.told.until(lambda line: f" {token} " in line and line.endswith("True"), limit=900)

    def pids(self):
        return self.controllers.pids()


def processor(pid):
    """Seconds of CPU time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
