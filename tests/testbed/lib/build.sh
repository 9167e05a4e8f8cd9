# shellcheck shell=bash
# Programs from their sources, each once: bin/NAME.key holds a hash of all that
# went into a build, and what has it is not built again. go.mod and go.sum pin
# and verify every source.

PATH=$PATH:/usr/local/go/bin

# name, what it costs on 2 cores, and what it is
BUILDS=(
	"containers|3 minutes|containerd %containers/github.com/containerd/containerd/v2, dockerd %containers/github.com/moby/moby/v2"
	"runc|20 seconds|runc %containers/github.com/opencontainers/runc"
	"gitserver|30 seconds|git over HTTPS"
	"pause|1 second|pause image"
	"busybox|1 second|base image busybox"
	"python|20 seconds|base image python"
	"engines|10 seconds|Docker 20.10 and Podman 4.3 of Debian"
	"coredns|1 minute|coredns %coredns/github.com/coredns/coredns"
	"kubernetes|6 minutes|kubernetes %kubernetes/k8s.io/kubernetes"
	"oldest|6 minutes|kubernetes %oldest/k8s.io/kubernetes"
)

# version MODULE-FOLDER GO-MODULE: as its go.mod pins it.
version() {
	awk -v module="$2" '$1 == "require" { sub(/^require /, "") } $1 == module && NF > 1 { print $2; exit }' "$TESTBED/$1/go.mod"
}

# key NAME: a hash of what decides the build's outcome, these functions included.
key() {
	local folder=$TESTBED/$1 recipes=("build_$1" go_build)
	[[ $1 != runc ]] || folder=$TESTBED/containers
	[[ ! $1 =~ ^(kubernetes|oldest)$ ]] || recipes+=(kubernetes_of)
	{
		if [[ -d $folder ]]; then cat "$folder"/*; fi
		if [[ -e $folder/go.mod ]]; then
			declare -f "${recipes[@]}"
			say "$GO_VERSION"
		else
			declare -f "build_$1" image_layer image_config unpack busybox_root
		fi
	} | sha256sum | cut -c1-16
}

# build NAME...: whichever of them is missing or was made of something else.
build() {
	local entry name cost words number=0 began old missing=() replaced=''
	GO_VERSION=$(go env GOVERSION 2>/dev/null || true)
	for entry in "${BUILDS[@]}"; do
		name=${entry%%|*}
		[[ " $* " == *" $name "* ]] || continue
		old=$(cat "$BIN/$name.key" 2>/dev/null || true)
		[[ $old != "$(key "$name")" ]] || continue
		missing+=("$entry")
		[[ ! $old ]] || replaced=yes
	done
	((${#missing[@]})) || return 0
	[[ $GO_VERSION ]] || fail 3 "Go is not on the PATH; install Go 1.26 or newer, or: $USE_YOURS"
	if [[ $replaced && -d $STATE ]]; then
		say "taking down what runs: it is made of parts that are replaced now"
		teardown
	fi
	mkdir -p "$BIN" "$CACHE/building"
	for entry in "${missing[@]}"; do
		IFS='|' read -r name cost words <<<"$entry"
		number=$((number + 1)) began=$(now)
		while [[ $words =~ %([a-z]+)/([^ ,]+) ]]; do
			words=${words/"${BASH_REMATCH[0]}"/"$(version "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")"}
		done
		printf '[%d/%d] %s (about %s on 2 cores) ... ' "$number" "${#missing[@]}" "$words" "$cost"
		rm -rf "$CACHE/building/$name"
		mkdir "$CACHE/building/$name"
		# In the background, as a condition would make it run on after a failure.
		"build_$name" "$CACHE/building/$name" >"$CACHE/building/$name.log" 2>&1 &
		if ! wait $!; then
			say "failed"
			tail -n 20 "$CACHE/building/$name.log" >&2
			fail 3 "$name could not be built; the lines above end $CACHE/building/$name.log."
		fi
		key "$name" >"$BIN/$name.key"
		rm -rf "$CACHE/building/$name" "$CACHE/building/$name.log"
		since "$began"
		say
	done
}

# go_build FOLDER OUTPUT [OPTION...] PACKAGE...: in a module of ours, whatever
# workspace or flags the caller has.
go_build() {
	local folder=$1 output=$2
	shift 2
	GOWORK=off GOFLAGS='' CGO_ENABLED=${CGO_ENABLED:-0} \
		go -C "$TESTBED/$folder" build -mod=readonly -buildvcs=false -trimpath -o "$output" "$@"
}

build_containers() {
	local containerd=github.com/containerd/containerd/v2 moby=github.com/moby/moby/v2
	local names
	names="-X $containerd/version.Version=$(version containers $containerd)"
	names+=" -X $moby/dockerversion.Version=$(version containers $moby)"
	go_build containers "$BIN/" -ldflags "-s -w $names" \
		$containerd/cmd/{containerd,containerd-shim-runc-v2,ctr} $moby/cmd/{dockerd,docker-proxy}
}

build_runc() {
	# C, for seccomp; static, so that it starts in any root.
	CGO_ENABLED=1 go_build containers "$BIN/" -tags 'netgo osusergo seccomp' \
		-ldflags '-s -w -extldflags -static' github.com/opencontainers/runc
}

build_gitserver() { go_build gitserver "$BIN/gitserver" -ldflags '-s -w' .; }

build_coredns() { go_build coredns "$BIN/coredns" -ldflags '-s -w' .; }

build_kubernetes() { kubernetes_of kubernetes "$BIN"; }

build_oldest() { kubernetes_of oldest "$OLDEST"; }

# kubernetes_of MODULE-FOLDER BIN-FOLDER
kubernetes_of() {
	local version major minor package=k8s.io/component-base/version component
	version=$(version "$1" k8s.io/kubernetes)
	IFS=. read -r major minor _ <<<"${version#v}"
	mkdir -p "$2"
	go_build "$1" "$2/kubernetes" -ldflags "-s -w
		-X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor" .
	for component in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
		ln -sf kubernetes "$2/$component"
	done
}
