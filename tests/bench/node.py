"""A node that kwok simulates: its pods run nothing and are ready at once, so that very many cost the machine no containers."""
import json
import subprocess
import time

NAME = "simulated"
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}


class Node:
    def __init__(self, kwok, kubectl):
        self.kwok, self.kubectl, self.process = kwok, kubectl, None

    def __enter__(self):
        room = {"cpu": "1k", "memory": "1Ti", "pods": "20k"}
        self.kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": NAME, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": NAME}},
            "spec": {"taints": [TAINT]}, "status": {"allocatable": room, "capacity": room}}))
        self.process = subprocess.Popen(
            [self.kwok, "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ready = "{.status.conditions[?(@.type=='Ready')].status}"
        end = time.monotonic() + 60
        while self.kubectl("get", "node", NAME, "-o", f"jsonpath={ready}") != "True":
            if time.monotonic() > end:
                raise SystemExit("kwok makes no node ready")
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.kubectl("delete", "node", NAME, "--wait=false", may_fail=True)
        if self.process:
            self.process.terminate()
            self.process.wait()


def deployment(name, version):
    """One replica on that node, and on no other."""
    container = {"name": "web", "image": f"registry.example.com/web:{version}",
                 "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": NAME}, "containers": [container],
                     "tolerations": [{"key": TAINT["key"], "operator": "Exists"}]}}}}
