# shellcheck shell=bash
# containerd, and dockerd on top of it. Kubernetes and the engine share the one
# containerd, each in its own namespace.

containerd_healthy() { [[ -S $CONTAINERD_SOCKET ]] && ctr version >/dev/null 2>&1; }

ctr() { "$BIN/ctr" --address "$CONTAINERD_SOCKET" "$@"; }

containerd_start() {
	local folder=$STATE/containerd registry
	mkdir -p "$folder/hosts"
	# By address and by name; the names are known inside pods, and here.
	for registry in "$ADDRESS" registry.testbed; do
		registry_host "$registry:5000" "http://$REGISTRY_OPEN"
		registry_host "$registry:5001" "http://$REGISTRY_AUTH"
		registry_host "$registry:5002" "https://$REGISTRY_TLS"
	done
	cat >"$folder/config.toml" <<-END
		version = 3
		root = "$folder/root"
		state = "$folder/run"
		[grpc]
		  address = "$CONTAINERD_SOCKET"
		[plugins.'io.containerd.internal.v1.opt']
		  path = "$folder/opt"
		[plugins.'io.containerd.nri.v1.nri']
		  disable = true
		[plugins.'io.containerd.cri.v1.images'.pinned_images]
		  sandbox = "testbed.local/pause:1"
		[plugins.'io.containerd.cri.v1.images'.registry]
		  config_path = "$folder/hosts"
		[plugins.'io.containerd.cri.v1.runtime']
		  # Where CAP_SYS_RESOURCE is missing no pod starts without it.
		  restrict_oom_score_adj = true
		  netns_mounts_under_state_dir = true
		  [plugins.'io.containerd.cri.v1.runtime'.cni]
		    bin_dirs = ["/usr/lib/cni"]
		    conf_dir = "$folder/cni"
		  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
		      BinaryName = "$BIN/runc"
		      Root = "$folder/runc"
	END
	mkdir -p "$folder/cni"
	cat >"$folder/cni/testbed.conflist" <<-END
		{"cniVersion": "1.0.0", "name": "testbed", "plugins": [
		  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "hairpinMode": true, "ipam": {
		    "type": "host-local", "dataDir": "$folder/addresses", "routes": [{"dst": "0.0.0.0/0"}],
		    "ranges": [[{"subnet": "$POD_NET", "rangeStart": "$POD_RANGE_START", "gateway": "$ADDRESS"}]]}}]}
	END
	start containerd "$BIN/containerd" --config "$folder/config.toml"
}

registry_host() {
	mkdir -p "$STATE/containerd/hosts/$1"
	printf 'server = "%s"\nca = "%s"\n' "$2" "$PKI/ca.crt" >"$STATE/containerd/hosts/$1/hosts.toml"
}

dockerd_healthy() { [[ -S $DOCKER_SOCKET ]] && get --unix-socket "$DOCKER_SOCKET" http://engine/_ping; }

dockerd_start() {
	mkdir -p "$STATE/docker"
	# A file of our own in the place of /etc/docker/daemon.json. Published ports
	# are on loopback. FORWARD stays open: see network.sh. The registry with TLS
	# is trusted through SSL_CERT_FILE, which `start` sets.
	cat >"$STATE/docker/daemon.json" <<-END
		{
		  "hosts": ["unix://$DOCKER_SOCKET"],
		  "containerd": "$CONTAINERD_SOCKET",
		  "containerd-namespace": "moby",
		  "data-root": "$STATE/docker/data",
		  "exec-root": "$STATE/docker/run",
		  "pidfile": "$STATE/docker/pid",
		  "bridge": "$ENGINE_BRIDGE",
		  "default-address-pools": [{"base": "$ENGINE_POOL", "size": 24}],
		  "ip": "127.0.0.1",
		  "default-network-opts": {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}},
		  "ip6tables": false,
		  "ip-forward-no-drop": true,
		  "userland-proxy-path": "$BIN/docker-proxy",
		  "exec-opts": ["native.cgroupdriver=cgroupfs"],
		  "insecure-registries": ["$REGISTRY_OPEN", "$REGISTRY_AUTH"],
		  "group": "root",
		  "shutdown-timeout": 2
		}
	END
	rm -f "$STATE/docker/pid"
	# A short one: the sockets of BuildKit's SSH agents are in it.
	start dockerd "DOCKER_TMPDIR=$STATE/tmp" "$BIN/dockerd" --config-file "$STATE/docker/daemon.json"
}
