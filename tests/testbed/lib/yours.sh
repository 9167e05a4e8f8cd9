# shellcheck shell=bash disable=SC2034 # CLUSTER, REGISTRY and ENGINE are for the other files
# What the caller brings along is used instead of the test bed's own; and what
# this machine cannot give is said in one sentence.

USE_YOURS='point KUBECONFIG, GITOPS_HOOKS_TEST_REGISTRY and DOCKER_HOST at a cluster, a registry and an engine of your own.'

# Sets CLUSTER and REGISTRY (empty CLUSTER: ours) and ENGINE.
find_yours() {
	CLUSTER='' REGISTRY=$REGISTRY_OPEN
	# Our own env file may be what the caller has loaded.
	if [[ ${KUBECONFIG:-$ADMIN} != "$ADMIN" && ${GITOPS_HOOKS_TEST_REGISTRY:-} ]]; then
		CLUSTER=$KUBECONFIG REGISTRY=$GITOPS_HOOKS_TEST_REGISTRY
	fi
	OUR_ENGINE=unix://$DOCKER_SOCKET
	for ENGINE in "${DOCKER_HOST:-}" unix:///var/run/docker.sock "$OUR_ENGINE"; do
		[[ $ENGINE && $ENGINE != "$OUR_ENGINE" ]] || continue
		if engine /_ping --max-time 2 --output /dev/null; then return; fi
	done
	ENGINE=$OUR_ENGINE
}

# The bed's containers and bridges need a root that may do what root does. Its
# git server alone, beside a cluster and an engine of the caller's, needs none.
check_machine() {
	local capabilities
	[[ $(uname -s) == Linux ]] || fail 3 "it runs on Linux alone; for the tests, $USE_YOURS"
	if ((EUID != 0)); then
		if our_engine || our_registry || our_cluster; then fail 3 "containers and bridges need root; or $USE_YOURS"; fi
		return 0
	fi
	capabilities=$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)
	# CAP_NET_ADMIN is bit 12, CAP_SYS_ADMIN bit 21.
	((0x$capabilities & 1 << 12 && 0x$capabilities & 1 << 21)) ||
		fail 3 "this root may not change networks or mounts (CAP_NET_ADMIN, CAP_SYS_ADMIN); as another user, $USE_YOURS"
	[[ -d /sys/fs/cgroup && -w /sys/fs/cgroup ]] || fail 3 "control groups cannot be written here; as another user, $USE_YOURS"
}
