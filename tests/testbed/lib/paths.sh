# shellcheck shell=bash disable=SC2034 # the files that source this one use the names
# Where things are, and how they are called: folders, addresses, ports. The
# other files of this folder take every such fact from here.

TESTBED=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${GITOPS_HOOKS_TESTBED:-${XDG_CACHE_HOME:-$HOME/.cache}/gitops-hooks/testbed}
BIN=$CACHE/bin     # built programs and images; kept
STATE=$CACHE/state # everything of one run; removed by `down`
ENV_FILE=$CACHE/env

# One bridge is the node's address, the pods' gateway and the address of every
# server: nothing listens on an interface that leads out of the machine.
BRIDGE=ghbed0
ADDRESS=10.88.0.1
((EUID == 0)) || ADDRESS=127.0.0.1 # no bridge, and only the git server: see check_machine
POD_NET=10.88.0.0/16
POD_RANGE_START=10.88.1.0 # below it: the node's own
SERVICE_NET=10.96.0.0/16
API_SERVICE=10.96.0.1
ENGINE_BRIDGE=ghbed1 # the engine's containers; docker0 stays free for others
ENGINE_ADDRESS=10.89.0.1
ENGINE_NET=10.89.0.0/16
ENGINE_POOL=10.90.0.0/16 # networks that tests create in the engine

DOCKER20_BRIDGE=ghbed2
DOCKER20_ADDRESS=10.91.0.1
DOCKER20_POOL=10.94.0.0/16
PODMAN_NET=10.95.255.0/24
PODMAN_POOL=10.95.0.0/17

API_URL=https://$ADDRESS:6443
ETCD_URL=http://127.0.0.1:23790
ETCD_PEER_URL=http://127.0.0.1:23800
REGISTRY_OPEN=$ADDRESS:5000
REGISTRY_AUTH=$ADDRESS:5001
REGISTRY_TLS=$ADDRESS:5002
GIT_SSH_PORT=2222
GIT_SSH=ssh://$(id -un)@$ADDRESS:$GIT_SSH_PORT/
GIT_HTTPS=$ADDRESS:8443
NODE=testbed
TEAM=team # the user of whatever asks for a password

PKI=$STATE/pki
PASSWORD_FILE=$STATE/password
GIT_ROOT=$STATE/git
SSH=$STATE/ssh
CONTAINERD_SOCKET=$STATE/containerd/containerd.sock
DOCKER_SOCKET=$STATE/docker.sock
OLDER=$BIN/engines
OLDEST=$BIN/oldest
# The programs of the cluster: the newest Kubernetes, or the oldest one where that is asked for.
KUBERNETES=$BIN KUBERNETES_MODULE=kubernetes
[[ ${GITOPS_HOOKS_TESTBED_KUBERNETES:-} != oldest ]] || KUBERNETES=$OLDEST KUBERNETES_MODULE=oldest
DOCKER20_SOCKET=$STATE/docker20.sock
DOCKER20_TLS=127.0.0.1:23760
DOCKER20_CERTS=$PKI/docker-client
PODMAN_SOCKET=$STATE/podman.sock
ADMIN=$STATE/kubeconfig

say() { printf '%s\n' "$*"; }

# fail CODE SENTENCE: 3 says that the machine, not the test bed, is at fault.
fail() {
	local code=$1
	shift
	say "testbed: $*" >&2
	exit "$code"
}

# Exact time for "N.N s" in a report.
now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
since() {
	local tenths=$((($(now) - $1) / 100000))
	printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

check_paths() {
	# Paths go into unix sockets (108 bytes, and the longest of ours adds 55),
	# JSON, TOML and a key=value file; plain characters need no quoting anywhere.
	[[ $CACHE =~ ^/[A-Za-z0-9._/-]{1,51}$ ]] ||
		fail 3 "the cache folder $CACHE must be an absolute path of at most 52 plain characters; set GITOPS_HOOKS_TESTBED to one."
}
