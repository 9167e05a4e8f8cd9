# shellcheck shell=bash
# Talking to the engine, ours or the user's, and giving it the base images.

# engine PATH [CURL OPTION...]: one call of the Docker API.
engine() {
	local path=$1
	shift
	case $ENGINE in
		unix://*) curl --silent --fail --unix-socket "${ENGINE#unix://}" "http://engine$path" "$@" ;;
		tcp://*) curl --silent --fail "http://${ENGINE#tcp://}$path" "$@" ;;
		*) return 1 ;;
	esac
}

BASE_IMAGES=("busybox base/busybox 1" "python base/python 3.11")

# Each base image is in the engine and, when there is one, in the registry.
base_images() {
	local image name repository tag began there
	for image in "${BASE_IMAGES[@]}"; do
		read -r name repository tag <<<"$image"
		began=$(now) there=yes
		if ! engine "/images/$REGISTRY/$repository:$tag/json" >/dev/null; then
			image_archive "$name" "$REGISTRY/$repository:$tag" |
				engine '/images/load?quiet=1' --request POST --header 'Content-Type: application/x-tar' --data-binary @- >/dev/null
			there=no
		fi
		if registry_wanted && ! get --head --header 'Accept: application/vnd.oci.image.manifest.v1+json' \
			--header 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
			--header 'Accept: application/vnd.oci.image.index.v1+json' "http://$REGISTRY/v2/$repository/manifests/$tag"; then
			push "$REGISTRY/$repository" "$tag"
			there=no
		fi
		[[ $there == yes ]] || say "  $REGISTRY/$repository:$tag: there after $(since "$began")"
	done
}

# push REPOSITORY TAG: the engine reports a failed push in the stream, as "error", with status 200.
push() {
	local answer
	answer=$(engine "/images/$1/push?tag=$2" --request POST --header 'X-Registry-Auth: e30=') || answer='"error": no answer'
	[[ $answer != *'"error"'* ]] || fail 3 "the engine could not push $1:$2: ${answer##*\"error\"}"
}
