"""What a delivery costs beside its round trips: a manifest repository of 10,000 files and 50,000 commits, reached over SSH and
HTTPS through a line with 50 ms of delay, against the same fetch and the same push by git alone. With the servers and the
registry of the test bed; without it a word says so."""
import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time

DELAY = 0.025
FILES = 10_000
COMMITS = 50_000
NAMES = ("REGISTRY", "GIT_ROOT", "GIT_SSH", "GIT_HTTPS", "SSH_KEY", "KNOWN_HOSTS", "CA", "USER", "PASSWORD")


def bed():
    """Where the servers are, as long as the environment says so."""
    return {name: os.environ.get(f"GITOPS_HOOKS_TEST_{name}") for name in NAMES}


def bench(binary, bed, rounds):
    if not all(bed.values()):
        print("deliveries over a slow line: skipped, they need the test bed (make testbed)")
        return
    with tempfile.TemporaryDirectory(prefix="deliver-bench-") as folder:
        world = World(binary, bed, folder)
        try:
            for name in ("ssh", "https"):
                ours, git = world.measure(name, rounds)
                title = f"deliver over {name}, 50 ms away, {FILES} files, {COMMITS} commits"
                print(f"{title}: {ours:8.0f} ms   git fetch and push {git:8.0f} ms   x{ours / git:.2f}")
        finally:
            world.end()


class World:
    def __init__(self, binary, bed, folder):
        self.binary, self.bed, self.folder = binary, bed, folder
        self.name = f"deliver-bench-{os.getpid()}"
        self.bare = os.path.join(bed["GIT_ROOT"], f"{self.name}.git")
        self.image = f"{bed['REGISTRY']}/{self.name}/web"
        ssh, https = (address(bed[key]) for key in ("GIT_SSH", "GIT_HTTPS"))
        self.ports = {"ssh": line(ssh), "https": line(https)}
        with open(bed["KNOWN_HOSTS"], encoding="utf-8") as file:
            key = file.readline().split(" ", 1)[1]
        with open(self.path("known_hosts"), "w", encoding="utf-8") as file:
            file.write(f"[127.0.0.1]:{self.ports['ssh']} {key}")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "KUBECONFIG"))}
        self.env |= {"HOME": folder, "GIT_CONFIG_NOSYSTEM": "1", "GIT_SSL_CAINFO": bed["CA"], "NO_COLOR": "1"}
        ssh = f"ssh -F none -i {bed['SSH_KEY']} -o IdentitiesOnly=yes -o UserKnownHostsFile={self.path('known_hosts')}"
        helper = f"!f() {{ echo username={bed['USER']}; echo password={bed['PASSWORD']}; }}; f"
        for key, value in {
            "user.name": "Bench", "user.email": "bench@example.com", "init.defaultBranch": "main", "core.sshCommand": ssh,
            "http.curloptResolve": f"git.testbed:{self.ports['https']}:127.0.0.1", "credential.helper": helper,
        }.items():
            self.git("config", "--global", key, value)
        self.urls = {
            "ssh": f"ssh://root@127.0.0.1:{self.ports['ssh']}/{self.name}.git",
            "https": f"https://git.testbed:{self.ports['https']}/{self.name}.git",
        }
        self.found()

    def path(self, name):
        return os.path.join(self.folder, name)

    def git(self, *args, at=None, data=None):
        done = subprocess.run(["git", *args], cwd=at or self.folder, env=self.env, input=data, capture_output=True)
        if done.returncode:
            raise SystemExit(f"git {args}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def found(self):
        """Ten thousand files in a hundred folders, of which one is the environment's, and a long history."""
        self.git("init", "-q", "--bare", self.bare)
        manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n    - name: web\n      image: %s\n"
        history = ["blob\nmark :1\n" + data(manifest % "registry.example.com/other:1")]
        history.append("blob\nmark :2\n" + data(manifest % f"{self.image}:0"))
        for number in range(COMMITS):
            history.append(f"commit refs/heads/main\nmark :{number + 10}\n")
            history.append(f"committer A <a@example.com> {1_600_000_000 + number} +0000\n" + data(f"Change {number}"))
            if number == 0:
                for file in range(FILES - 2):
                    history.append(f"M 100644 :1 other/{file % 99}/{file}.yaml\n")
                for name in ("ssh", "https"):
                    history.append(f"M 100644 :2 {name}/web.yaml\n")
            else:
                history.append("M 100644 inline notes/changes.txt\n" + data(f"{number}\n"))
        self.git("fast-import", "--quiet", at=self.bare, data="".join(history).encode())
        self.git("init", "-q", "--bare", "source.git")
        self.git("clone", "-q", "source.git", "app")
        environments = {
            name: {"branch": "main", "manifests": {"url": url, "path": name}, "images": ["web"]}
            for name, url in self.urls.items()
        }
        config = {"images": {"web": {"repository": self.image, "plain_http": True}}, "environments": environments}
        with open(self.path("app/.gitops-hooks.yaml"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        with open(self.path("app/Dockerfile"), "w", encoding="utf-8") as file:
            file.write("FROM scratch\n")
        app = self.path("app")
        lines = [f"images are pushed to: {self.bed['REGISTRY']} without TLS"]
        lines += [f"deliveries are pushed to: {url}" for url in self.urls.values()]
        for text in lines:
            self.git("config", "--add", "gitops-hooks.confirmed", text, at=app)
        self.git("add", ".", at=app)
        self.change(0)

    def change(self, number):
        app = self.path("app")
        self.git("commit", "-q", "--allow-empty", "-m", f"Change {number}", at=app)
        self.git("push", "-q", "-u", "origin", "main", at=app)
        publish(self.bed["REGISTRY"], self.image.split("/", 1)[1], "git-" + self.git("rev-parse", "HEAD", at=app), number)

    def measure(self, name, rounds):
        """The medians of our delivery and of git's own fetch and push, turn about."""
        clone = self.path(f"by-git-{name}.git")
        self.git("clone", "-q", "--bare", self.urls[name], clone)
        self.deliver(name)
        ours, git = [], []
        for number in range(rounds):
            self.change(f"{name} {number}")
            ours.append(timed(lambda: self.deliver(name)))
            git.append(timed(lambda: self.by_git(clone)))
        return statistics.median(ours), statistics.median(git)

    def deliver(self, name):
        done = subprocess.run([self.binary, "deliver", name], cwd=self.path("app"), env=self.env, capture_output=True, text=True)
        if done.returncode or "is delivered by" not in done.stderr:
            raise SystemExit(f"deliver: {done.stderr}")

    def by_git(self, clone):
        self.git("fetch", "-q", "origin", "+main:main", at=clone)
        tree = self.git("rev-parse", "main^{tree}", at=clone)
        commit = self.git("commit-tree", tree, "-p", "main", "-m", "By git", at=clone)
        self.git("push", "-q", "origin", f"{commit}:refs/heads/main", at=clone)

    def end(self):
        subprocess.run(["rm", "-rf", self.bare], check=False)


def timed(work):
    began = time.monotonic()
    work()
    return (time.monotonic() - began) * 1000


def data(text):
    return f"data {len(text.encode())}\n{text}\n"


def address(url):
    host, port = url.split("://", 1)[1].split("/", 1)[0].rsplit("@", 1)[-1].rsplit(":", 1)
    return host, int(port)


def line(server):
    """A line to a server on which every byte takes its time, both ways."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            client, _ = listener.accept()
            upstream = socket.create_connection(server)
            for one, other in ((client, upstream), (upstream, client)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=pipe, args=(one, other), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def pipe(one, other):
    """Passes bytes on, each piece `DELAY` after it came; pieces overlap, as on a real line."""
    pieces, ready = [], threading.Condition()

    def send():
        while True:
            with ready:
                while not pieces:
                    ready.wait()
                due, piece = pieces.pop(0)
            time.sleep(max(0, due - time.monotonic()))
            try:
                if not piece:
                    return other.shutdown(socket.SHUT_WR)
                other.sendall(piece)
            except OSError:
                return None

    threading.Thread(target=send, daemon=True).start()
    while True:
        try:
            piece = one.recv(65536)
        except OSError:
            piece = b""
        with ready:
            pieces.append((time.monotonic() + DELAY, piece))
            ready.notify()
        if not piece:
            return


def publish(registry, name, tag, content):
    """A tiny image, real to the registry."""
    def digest(blob):
        return "sha256:" + hashlib.sha256(blob).hexdigest()

    def call(method, path, body=b"", kind="application/octet-stream"):
        connection = http.client.HTTPConnection(registry)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return answer

    layer = bytes(1024)
    rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"content": str(content)}}, "rootfs": rootfs}
    config = json.dumps(config).encode()
    kind = "application/vnd.oci.image."
    for blob in (layer, config):
        if call("HEAD", f"/v2/{name}/blobs/{digest(blob)}").status != 200:
            place = call("POST", f"/v2/{name}/blobs/uploads/").getheader("Location")
            place = place[place.index("/v2/"):]
            call("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(blob)}", blob)
    manifest = {
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
        "config": {"mediaType": kind + "config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": kind + "layer.v1.tar", "digest": digest(layer), "size": len(layer)}],
    }
    answer = call("PUT", f"/v2/{name}/manifests/{tag}", json.dumps(manifest).encode(), kind + "manifest.v1+json")
    if answer.status != 201:
        raise SystemExit(f"the registry answers {answer.status}")
