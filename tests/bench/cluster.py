"""What the sync costs a cluster and its API server, and what Flux does: the same objects and the same story for each number of
them, seen from outside. Requests are the API server's own count for config maps, so whatever else writes those in the meantime
is counted too: nothing else should run."""
import json
import os
import re
import subprocess
import time

import flux
import node
from syncs import BED, Flux, Ours, Watched, kubectl, processor

# Flux takes minutes for more.
FLUX_OBJECTS = 5000
DEPLOYMENTS = 1000
WIDTH = 27


def bench(binary, numbers, kwok, rivals):
    """With kwok's program, and with Flux where `rivals` says that it is there."""
    if "KUBECONFIG" not in os.environ or "GITOPS_HOOKS_TEST_GIT_ROOT" not in BED:
        print("\nthe sync was not measured: it needs the test bed (make testbed)")
        return
    rivals = rivals and flux_is_free()
    beside = ", ".join(f"{name} {version}" for name, version in flux.VERSIONS.items())
    print("\nthe sync: ConfigMaps of 1 KiB in one environment over SSH" + (f"; in brackets {beside}" if rivals else ""))
    print(f"{'':<52}" + "".join(f"{f'N = {number:,}':>{WIDTH}}" for number in numbers), flush=True)
    rows = {}
    for number in numbers:
        for sync in [Ours(binary, number)] + [Flux(number)] * (rivals and number <= FLUX_OBJECTS):
            with sync:
                for name, text in maps(sync, number):
                    rows.setdefault(name, {}).setdefault(number, []).append(text)
    for name, texts in rows.items():
        line(name, *texts.values())
    done = {}
    for sync in [Ours(binary, "rollout")] + [Flux("rollout")] * rivals:
        with sync:
            for name, text in rollout(sync):
                done.setdefault(name, []).append(text)
    for name, texts in done.items():
        line(name, texts)
    if kwok:
        with node.Node(kwok, kubectl), Ours(binary, "many") as sync:
            many(sync, DEPLOYMENTS)


def flux_is_free():
    """Whether the cluster has no Flux of somebody's, whose definitions would be ours to remove."""
    return "fluxcd" not in kubectl("get", "customresourcedefinitions", "-o", "name")


def line(name, *columns):
    """Ours, and theirs in brackets."""
    texts = [ours + "".join(f" ({text})" for text in theirs) for ours, *theirs in columns]
    print(f"{name:<52}" + "".join(f"{text:>{WIDTH}}" for text in texts), flush=True)


def maps(sync, number):
    """The story of so many config maps: a name and what was measured, line by line."""
    for one in range(number):
        write_map(sync, one, "v1")
    commit = sync.commit()
    before, server = requests(), api_server()
    began = sync.start()
    took = sync.healthy(commit) - began
    counts, server = difference(before, requests()), api_server() - server
    yield "first sync, from start to healthy, s", f"{took:.1f}"
    yield "objects a second", f"{number / took:.0f}"
    yield "  API requests: write, GET, LIST", said(counts)
    yield "  its CPU and the API server's, s", f"{sync.processor():.2f} {server:.2f}"

    changed = Watched("-n", sync.name, "get", "configmap", "-o", "jsonpath={.data.key}{\"\\n\"}",
                      "--field-selector", "metadata.name=c00007")
    times = []
    for value in ("v2", "v3", "v4"):
        write_map(sync, 7, value)
        time.sleep(1)
        before = requests()
        commit = sync.commit()
        pushed = time.monotonic()
        sync.nudge()
        times.append(changed.until(lambda line, value=value: line == value) - pushed)
        sync.healthy(commit)
        counts = difference(before, requests())
    changed.stop()
    yield "one changed, from push with a nudge to applied, s", f"{sorted(times)[1]:.2f}"
    yield "  API requests: write, GET and LIST of it", said(counts)

    time.sleep(2)
    rounds, before = 3, requests()
    ours, server = sync.processor(), api_server()
    began = time.monotonic()
    for _ in range(rounds):
        sync.look()
    took = (time.monotonic() - began) / rounds
    ours, server = (sync.processor() - ours) / rounds, (api_server() - server) / rounds
    counts = difference(before, requests())
    yield "unchanged, from nudge to looked at, s", f"{took:.2f}"
    yield "  CPU then: its and the API server's, s", f"{ours:.3f} {server:.2f}"
    yield f"  API requests of {rounds}: write, GET, LIST", said(counts)
    now, peak = sync.memory()
    yield "memory now and at its peak, MiB", f"{now:.0f} {peak:.0f}"


def write_map(sync, number, value):
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number:05}}}\ndata:\n  key: '{value}'\n"
    text += f"  fill: '{'x' * (1024 - len(text))}'\n"
    with open(os.path.join(sync.staging, f"c{number:05}.yaml"), "w", encoding="utf-8") as file:
        file.write(text)


def rollout(sync):
    """A Deployment of two replicas from v1 to v2: when its last pod is ready, and when that is said."""
    image = BED["GITOPS_HOOKS_TEST_BASE_BUSYBOX"]

    def write(version):
        serve = f"mkdir /www && echo {version} > /www/index.html && exec httpd -f -p 8080 -h /www"
        with open(os.path.join(sync.staging, "web.yaml"), "w", encoding="utf-8") as file:
            json.dump({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                        "name": "web", "image": image, "command": ["sh", "-c", serve],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}}]}}}}, file)

    write("v1")
    commit = sync.commit()
    sync.start(wait=True)
    sync.healthy(commit)
    idle, _ = sync.memory()
    state = "{.metadata.generation} {.status.observedGeneration} {.status.updatedReplicas} {.status.replicas}"
    state += " {.status.availableReplicas}"
    deployment = Watched("-n", sync.name, "get", "deployment", "web", "-o", f"jsonpath={state}{{\"\\n\"}}")
    write("v2")
    commit = sync.commit()
    pushed = time.monotonic()
    sync.nudge()
    done = deployment.until(lambda line: line == "2 2 2 2 2") - pushed
    told = sync.healthy(commit) - pushed
    deployment.stop()
    yield "2 replicas, v1 to v2, push to rolled out, s", f"{done:.2f}"
    yield "the same, until it is told healthy, s", f"{told:.2f}"
    yield "memory with one Deployment, MiB", f"{idle:.0f}"


def many(sync, number):
    """So many Deployments of one replica each on a simulated node: told healthy from nothing, and after one changed."""
    def write(one, version):
        with open(os.path.join(sync.staging, f"d{one:05}.json"), "w", encoding="utf-8") as file:
            json.dump(node.deployment(f"d{one:05}", version), file)

    for one in range(number):
        write(one, "v1")
    commit = sync.commit()
    began = sync.start()
    took, ours = sync.healthy(commit) - began, sync.processor()
    write(7, "v2")
    commit = sync.commit()
    pushed = time.monotonic()
    sync.nudge()
    changed = sync.healthy(commit) - pushed
    now, peak = sync.memory()
    line(f"{number:,} Deployments on a simulated node, to healthy, s", [f"{took:.1f}"])
    line("  CPU of it, s", [f"{ours:.2f}"])
    line("one changed, from push with a nudge to healthy, s", [f"{changed:.2f}"])
    line("memory now and at its peak, MiB", [f"{now:.0f} {peak:.0f}"])


def said(counts):
    """What a nudge does is a PATCH, too, but of no config map where it is Flux's."""
    written = sum(counts.get(verb, 0) for verb in ("APPLY", "POST", "PUT"))
    return " ".join(map(str, (written, counts.get("GET", 0), counts.get("LIST", 0))))


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
    """Seconds of CPU time that the API server has used; none where it is on another machine."""
    found = subprocess.run(["pgrep", "-x", "kube-apiserver"], text=True, capture_output=True, check=False).stdout.split()
    return processor(found[0]) if found else 0
