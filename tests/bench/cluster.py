"""What the sync costs a cluster and its API server: the same objects and the same story for each number of them, seen from
outside. Requests are the API server's own count for config maps, so whatever else writes those in the meantime is counted too:
nothing else should run. Flux's figures stand beside ours where they were measured before, with the same objects on the same
bed; its controllers are not run here."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import node
import workplace

# Taken before the workplace forgets it.
BED = {name: value for name, value in os.environ.items() if name.startswith("GITOPS_HOOKS_TEST")}
SYSTEM = "gitops-hooks-system"
PORT, PROXY = 18391, 18390
# source-controller and kustomize-controller v1.9.6: first sync, one object changed, unchanged pass, CPU of it (controller and API
# server), peak memory of both.
FLUX = {100: (1.5, 0.64, 0.45, 0.63, 203), 1000: (6.7, 3.5, 3.5, 5.1, 218), 5000: (38, 28, 29, 46, 313)}
FLUX_ROLLOUT = (1.5, 5.4)
DEPLOYMENTS = 1000


def bench(binary, numbers, kwok):
    if "KUBECONFIG" not in os.environ or "GITOPS_HOOKS_TEST_GIT_ROOT" not in BED:
        print("\nthe sync was not measured: it needs the test bed (make testbed)")
        return
    print("\nthe sync: ConfigMaps of 1 KiB in one environment over SSH; Flux's figures, from another run, in brackets")
    print(f"{'':<52}" + "".join(f"{f'N = {number:,}':>18}" for number in numbers), flush=True)
    rows = {}
    for number in numbers:
        with Bed(binary, f"bench-{number}-{os.getpid()}") as bed:
            for name, text in bed.maps(number):
                rows.setdefault(name, []).append(text)
    for name, texts in rows.items():
        print(f"{name:<52}" + "".join(f"{text:>18}" for text in texts), flush=True)
    with Bed(binary, f"bench-rollout-{os.getpid()}") as bed:
        bed.rollout()
    if kwok:
        with node.Node(kwok, kubectl), Bed(binary, f"bench-many-{os.getpid()}") as bed:
            bed.many(DEPLOYMENTS)


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


class Bed:
    """A namespace, a repository and a sync outside of any pod; all gone afterwards."""

    def __init__(self, binary, name):
        self.binary, self.name = binary, name
        self.folder = os.path.join(workplace.ROOT, name)
        self.bare = os.path.join(BED["GITOPS_HOOKS_TEST_GIT_ROOT"], f"{name}.git")
        self.staging = os.path.join(self.folder, "work/staging")
        self.sync = self.report = self.proxy = None

    def __enter__(self):
        for namespace in (SYSTEM, self.name):
            kubectl("create", "namespace", namespace, may_fail=True)
        kubectl("-n", SYSTEM, "create", "configmap", f"gitops-hooks-{self.name}")
        credentials = os.path.join(self.folder, "credentials")
        os.makedirs(credentials)
        os.makedirs(self.staging)
        for name, variable in (("identity", "DEPLOY_KEY"), ("known_hosts", "KNOWN_HOSTS")):
            shutil.copy(BED[f"GITOPS_HOOKS_TEST_{variable}"], os.path.join(credentials, name))
        workplace.run("git", "init", "-q", "--bare", "-b", "main", self.bare)
        workplace.run("git", "init", "-q", "-b", "main", folder=os.path.join(self.folder, "work"))
        settings = {"environment": self.name, "namespace": self.name, "branch": "main", "path": "staging",
                    "url": f"{BED['GITOPS_HOOKS_TEST_GIT_SSH']}{self.name}.git", "interval": "1h",
                    "credentials": credentials, "data": os.path.join(self.folder, "data"), "port": PORT}
        with open(os.path.join(self.folder, "sync.yaml"), "w", encoding="utf-8") as file:
            json.dump(settings, file)
        self.proxy = subprocess.Popen([program(), "proxy", f"--port={PROXY}"], stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        for process in (self.sync, self.report, self.proxy):
            if process:
                process.stop() if isinstance(process, Watched) else (process.terminate(), process.wait())
        kubectl("delete", "namespace", self.name, "--wait=false", may_fail=True)
        own = [f"gitops-hooks-{self.name}", f"gitops-hooks-report-{self.name}", f"gitops-hooks-inventory-{self.name}"]
        own += [f"gitops-hooks-inventory-{self.name}.{shard}" for shard in range(1, 8)]
        kubectl("-n", SYSTEM, "delete", "configmap", "--ignore-not-found", "--wait=false", *own, may_fail=True)
        kubectl("-n", SYSTEM, "delete", "lease", "--ignore-not-found", f"gitops-hooks-{self.name}", may_fail=True)
        shutil.rmtree(self.bare, ignore_errors=True)

    def commit(self):
        folder = os.path.join(self.folder, "work")
        workplace.run("git", "add", "-A", folder=folder)
        workplace.run("git", "-c", "user.name=B", "-c", "user.email=b@example.com", "commit", "-q", "-m", "change",
                      folder=folder)
        workplace.run("git", "push", "-q", self.bare, "main", folder=folder)
        return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, text=True, capture_output=True,
                              check=True).stdout.strip()

    def start(self):
        """Starts the sync and gives the moment."""
        self.report = Watched("-n", SYSTEM, "get", "configmap", "-o", "jsonpath={.data.report\\.json}{\"\\n\"}",
                              "--field-selector", f"metadata.name=gitops-hooks-report-{self.name}")
        time.sleep(1)
        moment = time.monotonic()
        with open(os.path.join(self.folder, "log"), "w", encoding="utf-8") as log:
            self.sync = subprocess.Popen([self.binary, "sync", "--config", os.path.join(self.folder, "sync.yaml")],
                                         stdout=log, stderr=log)
        return moment

    def healthy(self, commit):
        """The moment at which the report says that this commit is healthy."""
        return self.report.until(lambda line: commit in line and '"phase":"healthy"' in line)

    def nudge(self):
        """Asks for a poll, without the time that `kubectl` takes to start."""
        patch = json.dumps({"metadata": {"annotations": {"gitops-hooks.dev/nudge": str(time.time_ns())}}}).encode()
        url = f"http://127.0.0.1:{PROXY}/api/v1/namespaces/{SYSTEM}/configmaps/gitops-hooks-{self.name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        urllib.request.urlopen(urllib.request.Request(url, patch, headers, method="PATCH"), timeout=30).read()

    def map(self, number, value):
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number:05}}}\ndata:\n  key: '{value}'\n"
        text += f"  fill: '{'x' * (1024 - len(text))}'\n"
        with open(os.path.join(self.staging, f"c{number:05}.yaml"), "w", encoding="utf-8") as file:
            file.write(text)

    def memory(self):
        """Memory now and at its peak, in MiB."""
        with open(f"/proc/{self.sync.pid}/status", encoding="utf-8") as file:
            found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+)", file.read()))
        return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024

    def polls(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return sum(int(count) for count in re.findall(r"gitops_hooks_polls_total\{[^}]*\} (\d+)", text))

    def maps(self, number):
        """The story of so many config maps: a name and what was measured, line by line."""
        flux = FLUX.get(number)
        beside = lambda index: f" ({flux[index]})" if flux else ""
        for one in range(number):
            self.map(one, "v1")
        commit = self.commit()
        before, server = requests(), processor(api_server())
        began = self.start()
        took = self.healthy(commit) - began
        counts, server = difference(before, requests()), processor(api_server()) - server
        yield "first sync, from start to healthy, s", f"{took:.1f}{beside(0)}"
        yield "objects a second", f"{number / took:.0f}" + (f" ({number / flux[0]:.0f})" if flux else "")
        yield "  API requests: APPLY, GET, LIST", said(counts)
        yield "  CPU of it: ours, API server's, s", f"{processor(self.sync.pid):.2f} {server:.2f}"

        changed = Watched("-n", self.name, "get", "configmap", "-o", "jsonpath={.data.key}{\"\\n\"}",
                          "--field-selector", "metadata.name=c00007")
        times = []
        for value in ("v2", "v3", "v4"):
            self.map(7, value)
            time.sleep(1)
            before = requests()
            commit = self.commit()
            pushed = time.monotonic()
            self.nudge()
            times.append(changed.until(lambda line, value=value: line == value) - pushed)
            self.healthy(commit)
            counts = difference(before, requests())
        changed.stop()
        yield "one changed, from push with a nudge to applied, s", f"{sorted(times)[1]:.2f}{beside(1)}"
        yield "  API requests: APPLY, GET and LIST of it", said(counts)

        time.sleep(2)
        rounds, before = 5, requests()
        cpu, server = processor(self.sync.pid), processor(api_server())
        began, polls = time.monotonic(), self.polls()
        for _ in range(rounds):
            self.nudge()
            polls += 1
            while self.polls() < polls:
                time.sleep(0.02)
        took = (time.monotonic() - began) / rounds
        ours = (processor(self.sync.pid) - cpu) / rounds
        theirs = f"{(processor(api_server()) - server) / rounds:.2f}" if api_server() else "-"
        counts = difference(before, requests())
        yield "unchanged, from nudge to looked at, s", f"{took:.2f}{beside(2)}"
        yield "CPU of it: ours, API server's with the nudge, s", f"{ours:.3f} {theirs}{beside(3)}"
        yield "  API requests of five: APPLY, GET, LIST", said(counts)
        now, peak = self.memory()
        yield "memory now and at its peak, MiB", f"{now:.0f} {peak:.0f}{beside(4)}"

    def rollout(self):
        """A Deployment of two replicas from v1 to v2: when its last pod is ready, and when that is said."""
        image = BED["GITOPS_HOOKS_TEST_BASE_BUSYBOX"]

        def write(version):
            serve = f"mkdir /www && echo {version} > /www/index.html && exec httpd -f -p 8080 -h /www"
            with open(os.path.join(self.staging, "web.yaml"), "w", encoding="utf-8") as file:
                json.dump({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
                    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                            "name": "web", "image": image, "command": ["sh", "-c", serve],
                            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}}]}}}}, file)
            os.replace(os.path.join(self.staging, "web.yaml"), os.path.join(self.staging, "web.json"))

        write("v1")
        commit = self.commit()
        self.start()
        self.healthy(commit)
        idle, _ = self.memory()
        state = "{.metadata.generation} {.status.observedGeneration} {.status.updatedReplicas} {.status.replicas}"
        state += " {.status.availableReplicas}"
        deployment = Watched("-n", self.name, "get", "deployment", "web", "-o", f"jsonpath={state}{{\"\\n\"}}")
        write("v2")
        commit = self.commit()
        pushed = time.monotonic()
        self.nudge()
        done = deployment.until(lambda line: line == "2 2 2 2 2") - pushed
        told = self.healthy(commit) - pushed
        deployment.stop()
        print(f"{'2 replicas, v1 to v2, push to rolled out, s':<52}{f'{done:.2f} ({FLUX_ROLLOUT[0]})':>18}")
        print(f"{'the same, until it is told healthy, s':<52}{f'{told:.2f} ({FLUX_ROLLOUT[1]})':>18}")
        print(f"{'memory with one Deployment, MiB':<52}{idle:>18.0f}", flush=True)

    def many(self, number):
        """So many Deployments of one replica each on a simulated node: told healthy from nothing, and after one changed."""
        def write(one, version):
            with open(os.path.join(self.staging, f"d{one:05}.json"), "w", encoding="utf-8") as file:
                json.dump(node.deployment(f"d{one:05}", version), file)

        for one in range(number):
            write(one, "v1")
        commit = self.commit()
        began = self.start()
        took, ours = self.healthy(commit) - began, processor(self.sync.pid)
        write(7, "v2")
        commit = self.commit()
        pushed = time.monotonic()
        self.nudge()
        changed = self.healthy(commit) - pushed
        now, peak = self.memory()
        print(f"{f'{number:,} Deployments on a simulated node, to healthy, s':<52}{took:>18.1f}")
        print(f"{'  CPU of it: ours, s':<52}{ours:>18.2f}")
        print(f"{'one changed, from push with a nudge to healthy, s':<52}{changed:>18.2f}")
        print(f"{'memory now and at its peak, MiB':<52}{f'{now:.0f} {peak:.0f}':>18}", flush=True)


def said(counts):
    """The requests that the sync makes; the nudge is a PATCH."""
    return " ".join(str(counts.get(verb, 0)) for verb in ("APPLY", "GET", "LIST"))


def requests():
    """The API server's count of requests for config maps, by verb."""
    counts = {}
    for line in kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith("apiserver_request_total{") and 'resource="configmaps"' in line:
            verb = re.search(r'verb="(\w+)"', line).group(1)
            counts[verb] = counts.get(verb, 0) + int(float(line.rsplit(" ", 1)[1]))
    return counts


def difference(before, after):
    return {verb: count - before.get(verb, 0) for verb, count in after.items()}


def api_server():
    found = subprocess.run(["pgrep", "-x", "kube-apiserver"], text=True, capture_output=True, check=False).stdout.split()
    return int(found[0]) if found else None


def processor(pid):
    """Seconds of CPU time that a process has used."""
    if pid is None:
        return 0
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
