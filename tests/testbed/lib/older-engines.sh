# shellcheck shell=bash
# Engines that people have besides the newest: Docker 20.10 and Podman 4.3, as
# Debian packages them. They are unpacked, not installed: nothing of the machine's
# own is replaced. Each has its own folders, bridge and addresses.

OLDER_PACKAGES=(docker.io containerd runc tini podman conmon golang-github-containers-common
	golang-github-containers-image netavark aardvark-dns libgpgme11 libsubid4 libdevmapper1.02.1 libassuan0 catatonit)

build_engines() {
	rm -rf "$OLDER"
	unpack "$1/root" "${OLDER_PACKAGES[@]}"
	mv "$1/root" "$OLDER"
}

# older_start NAME COMMAND...: with the programs and libraries of the packages.
older_start() {
	local name=$1 libraries
	shift
	libraries=$(find "$OLDER" -name 'libgpgme.so.*' -printf '%h\n' | head -n 1)
	start "$name" env "PATH=$OLDER/usr/bin:$OLDER/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin" "LD_LIBRARY_PATH=$libraries" "$@"
}

docker20_healthy() { [[ -S $DOCKER20_SOCKET ]] && get --unix-socket "$DOCKER20_SOCKET" http://engine/_ping; }

docker20_start() {
	local folder=$STATE/docker20
	mkdir -p "$folder"
	[[ -e /sys/class/net/$DOCKER20_BRIDGE ]] || bridge "$DOCKER20_BRIDGE" "$DOCKER20_ADDRESS/18" 02:00:0a:5b:00:01
	[[ -e $DOCKER20_CERTS/done ]] || docker20_certificates
	# It leaves the firewall alone: published ports go through docker-proxy.
	cat >"$folder/daemon.json" <<-END
		{
		  "hosts": ["unix://$DOCKER20_SOCKET", "tcp://$DOCKER20_TLS"],
		  "tlsverify": true,
		  "tlscacert": "$PKI/ca.crt",
		  "tlscert": "$PKI/servers.crt",
		  "tlskey": "$PKI/servers.key",
		  "data-root": "$folder/data",
		  "exec-root": "$folder/run",
		  "pidfile": "$folder/pid",
		  "bridge": "$DOCKER20_BRIDGE",
		  "default-address-pools": [{"base": "$DOCKER20_POOL", "size": 24}],
		  "ip": "127.0.0.1",
		  "iptables": false,
		  "ip6tables": false,
		  "ip-forward": false,
		  "ip-masq": false,
		  "userland-proxy-path": "$OLDER/usr/sbin/docker-proxy",
		  "exec-opts": ["native.cgroupdriver=cgroupfs"],
		  "insecure-registries": ["$REGISTRY_OPEN", "$REGISTRY_AUTH"],
		  "group": "root",
		  "shutdown-timeout": 2
		}
	END
	# What a killed one has left: it would wait for its dead containerd until it gives up.
	rm -f "$folder/pid" "$folder/run/containerd/containerd".{pid,sock}
	older_start docker20 "DOCKER_TMPDIR=$STATE/tmp" "$OLDER/usr/sbin/dockerd" --config-file "$folder/daemon.json"
}

# As a person keeps them for DOCKER_CERT_PATH.
docker20_certificates() {
	mkdir -p "$DOCKER20_CERTS"
	certificate docker-client '/CN=docker-client'
	cp "$PKI/ca.crt" "$DOCKER20_CERTS/ca.pem"
	cp "$PKI/docker-client.crt" "$DOCKER20_CERTS/cert.pem"
	cp "$PKI/docker-client.key" "$DOCKER20_CERTS/key.pem"
	touch "$DOCKER20_CERTS/done"
}

podman_healthy() { [[ -S $PODMAN_SOCKET ]] && get --unix-socket "$PODMAN_SOCKET" http://engine/_ping; }

podman_start() {
	local folder=$STATE/podman registry
	mkdir -p "$folder"/{networks,tmp} "$STATE/home/.config/containers"
	printf '{"default":[{"type":"insecureAcceptAnything"}]}' >"$STATE/home/.config/containers/policy.json"
	cat >"$folder/containers.conf" <<-END
		[containers]
		default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		lock_type = "file"
		tmp_dir = "$folder/tmp"
		conmon_path = ["$OLDER/usr/bin/conmon"]
		runtime = "runc"
		helper_binaries_dir = ["$OLDER/usr/lib/podman"]
		[engine.runtimes]
		runc = ["$OLDER/usr/bin/runc", "$OLDER/usr/sbin/runc"]
		[network]
		network_backend = "netavark"
		network_config_dir = "$folder/networks"
		default_subnet = "$PODMAN_NET"
		default_subnet_pools = [{"base" = "$PODMAN_POOL", "size" = 24}]
	END
	cat >"$folder/storage.conf" <<-END
		[storage]
		driver = "overlay"
		graphroot = "$folder/root"
		runroot = "$folder/run"
	END
	printf 'unqualified-search-registries = []\n' >"$folder/registries.conf"
	for registry in "$REGISTRY_OPEN" "$REGISTRY_AUTH"; do
		printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$registry" >>"$folder/registries.conf"
	done
	rm -f "$PODMAN_SOCKET"
	older_start podman env "CONTAINERS_CONF=$folder/containers.conf" "CONTAINERS_STORAGE_CONF=$folder/storage.conf" \
		"CONTAINERS_REGISTRIES_CONF=$folder/registries.conf" \
		"$OLDER/usr/bin/podman" system service --time 0 "unix://$PODMAN_SOCKET"
}

# The base images, for engines that may not reach the registry at their first build.
# In a shell of its own: ENGINE is the bed's.
older_images() (
	local socket image name repository tag
	for socket in "$DOCKER20_SOCKET" "$PODMAN_SOCKET"; do
		for image in "${BASE_IMAGES[@]}"; do
			read -r name repository tag <<<"$image"
			# shellcheck disable=SC2034 # engine reads it
			ENGINE=unix://$socket
			! engine "/images/$REGISTRY/$repository:$tag/json" >/dev/null || continue
			image_archive "$name" "$REGISTRY/$repository:$tag" |
				engine '/images/load?quiet=1' --request POST --header 'Content-Type: application/x-tar' --data-binary @- >/dev/null
		done
	done
)
