# shellcheck shell=bash
# The env file: what is up, for tests and people, as plain KEY=value lines. Values
# have no character that a shell would treat specially.

write_environment() {
	{
		printf 'GITOPS_HOOKS_TESTBED_CACHE=%s\n' "$CACHE"
		if runs dockerd || [[ $ENGINE != "$OUR_ENGINE" ]]; then
			printf 'DOCKER_HOST=%s\n' "$ENGINE"
			printf 'GITOPS_HOOKS_TEST_BASE_PYTHON=%s/base/python:3.11\n' "$REGISTRY"
			printf 'GITOPS_HOOKS_TEST_BASE_BUSYBOX=%s/base/busybox:1\n' "$REGISTRY"
		fi
		if runs docker20; then
			printf 'GITOPS_HOOKS_TEST_DOCKER20=unix://%s\n' "$DOCKER20_SOCKET"
			printf 'GITOPS_HOOKS_TEST_DOCKER20_TLS=tcp://%s\n' "$DOCKER20_TLS"
			printf 'GITOPS_HOOKS_TEST_DOCKER20_CERTS=%s\n' "$DOCKER20_CERTS"
			printf 'GITOPS_HOOKS_TEST_DOCKER20_PROGRAMS=%s\n' "$OLDER"
		fi
		if runs podman; then printf 'GITOPS_HOOKS_TEST_PODMAN=unix://%s\n' "$PODMAN_SOCKET"; fi
		if [[ $CLUSTER ]]; then
			printf 'KUBECONFIG=%s\nGITOPS_HOOKS_TEST_REGISTRY=%s\n' "$CLUSTER" "$REGISTRY"
		fi
		if runs kubelet; then printf 'KUBECONFIG=%s\nGITOPS_HOOKS_TEST_KUBERNETES=%s\n' "$ADMIN" "$KUBERNETES"; fi
		if runs registry-open; then
			printf 'GITOPS_HOOKS_TEST_REGISTRY=%s\n' "$REGISTRY_OPEN"
			printf 'GITOPS_HOOKS_TEST_REGISTRY_AUTH=%s\n' "$REGISTRY_AUTH"
			printf 'GITOPS_HOOKS_TEST_REGISTRY_TLS=%s\n' "$REGISTRY_TLS"
		fi
		printf 'GITOPS_HOOKS_TEST_USER=%s\n' "$TEAM"
		printf 'GITOPS_HOOKS_TEST_PASSWORD=%s\n' "$(<"$PASSWORD_FILE")"
		printf 'GITOPS_HOOKS_TEST_CA=%s\n' "$PKI/ca.crt"
		if runs sshd; then
			printf 'GITOPS_HOOKS_TEST_GIT_SSH=%s\n' "$GIT_SSH"
			printf 'GITOPS_HOOKS_TEST_GIT_HTTPS=https://%s/\n' "$GIT_HTTPS"
			printf 'GITOPS_HOOKS_TEST_GIT_ROOT=%s\n' "$GIT_ROOT"
			printf 'GITOPS_HOOKS_TEST_SSH_KEY=%s\n' "$SSH/laptop"
			printf 'GITOPS_HOOKS_TEST_DEPLOY_KEY=%s\n' "$SSH/deploy"
			printf 'GITOPS_HOOKS_TEST_KNOWN_HOSTS=%s\n' "$SSH/known_hosts"
		fi
	} >"$ENV_FILE.new"
	# Whole or not at all, for whoever reads meanwhile.
	mv "$ENV_FILE.new" "$ENV_FILE"
}

runs() { pid_of "$1" >/dev/null; }
