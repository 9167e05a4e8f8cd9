# shellcheck shell=bash
# A Kubernetes of one node: etcd, API server, controller manager, scheduler,
# kubelet, kube-proxy, CoreDNS, each a process of this machine.

kubectl() { "$BIN/kubectl" --kubeconfig "$ADMIN" --cache-dir "$STATE/tmp/kubectl" "$@"; }

# Clients otherwise hold themselves back to 20 requests a second, which makes the
# controllers' start three seconds longer and a test of many objects a test of that.
UNTHROTTLED=(--kube-api-qps 1000 --kube-api-burst 1000)

# api PATH: as admin, without kubectl's start-up time.
api() {
	curl --silent --fail --max-time 2 --noproxy '*' --cacert "$PKI/ca.crt" \
		--cert "$PKI/admin.crt" --key "$PKI/admin.key" "$API_URL$1"
}

etcd_healthy() { get "$ETCD_URL/readyz"; }
etcd_start() {
	# Nothing in it outlives the test bed; fsync would be half of every write.
	start etcd "$KUBERNETES/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn --name "$NODE" \
		--listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
		--listen-peer-urls "$ETCD_PEER_URL" --initial-advertise-peer-urls "$ETCD_PEER_URL" \
		--initial-cluster "$NODE=$ETCD_PEER_URL"
}

kube_apiserver_healthy() { get --cacert "$PKI/ca.crt" "$API_URL/readyz"; }
kube_apiserver_start() {
	start kube-apiserver "$KUBERNETES/kube-apiserver" --etcd-servers "$ETCD_URL" \
		--bind-address "$ADDRESS" --advertise-address "$ADDRESS" --secure-port 6443 \
		--client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
		--kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
		--kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
		--service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range "$SERVICE_NET" \
		--service-account-key-file "$PKI/accounts.pub" --service-account-signing-key-file "$PKI/accounts.key" \
		--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
}

kube_controller_manager_healthy() { get --insecure https://127.0.0.1:10257/healthz; }
kube_controller_manager_start() {
	start kube-controller-manager "$KUBERNETES/kube-controller-manager" --kubeconfig "$PKI/controller-manager.kubeconfig" "${UNTHROTTLED[@]}" \
		--bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
		--cert-dir "$STATE/tmp" --root-ca-file "$PKI/ca.crt" --service-account-private-key-file "$PKI/accounts.key" \
		--service-cluster-ip-range "$SERVICE_NET" --cluster-cidr "$POD_NET"
}

kube_scheduler_healthy() { get --insecure https://127.0.0.1:10259/healthz; }
kube_scheduler_start() {
	start kube-scheduler "$KUBERNETES/kube-scheduler" --kubeconfig "$PKI/scheduler.kubeconfig" "${UNTHROTTLED[@]}" \
		--bind-address 127.0.0.1 --leader-elect=false --cert-dir "$STATE/tmp"
}

kubelet_healthy() { get http://127.0.0.1:10248/healthz && node_ready; }
node_ready() { [[ $(api "/api/v1/nodes/$NODE" | tr -d ' \n') == *'"type":"Ready","status":"True"'* ]]; }
kubelet_start() {
	local folder=$STATE/kubelet
	mkdir -p "$folder/manifests"
	# No name server but the cluster's own: a pod finds nothing outside.
	: >"$folder/resolv.conf"
	[[ $(ctr -n k8s.io images ls -q 2>/dev/null) == *testbed.local/pause:1* ]] ||
		image_archive pause testbed.local/pause:1 | ctr -n k8s.io images import - >/dev/null 2>&1
	cat >"$folder/config.yaml" <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $ADDRESS
		healthzBindAddress: 127.0.0.1
		containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
		podLogsDir: $folder/logs
		volumePluginDir: $folder/plugins
		resolvConf: $folder/resolv.conf
		clusterDNS: [$ADDRESS]
		clusterDomain: cluster.local
		tlsCertFile: $PKI/kubelet.crt
		tlsPrivateKeyFile: $PKI/kubelet.key
		authentication: {x509: {clientCAFile: $PKI/ca.crt}, webhook: {enabled: false}, anonymous: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		# What the machine has, it is asked to make do with: version 1 of cgroups,
		# swap, a full disk, no right to change OOM scores.
		failCgroupV1: false
		failSwapOn: false
		cgroupDriver: cgroupfs
		enforceNodeAllocatable: []
		evictionHard: {}
		imageGCHighThresholdPercent: 100
		localStorageCapacityIsolation: false
		oomScoreAdj: 0
		maxPods: 250
		kubeAPIQPS: 1000
		kubeAPIBurst: 1000
		serializeImagePulls: false
	END
	start kubelet "$KUBERNETES/kubelet" --config "$folder/config.yaml" --kubeconfig "$PKI/node.kubeconfig" \
		--root-dir "$folder/root" --cert-dir "$folder/pki" --hostname-override "$NODE" --node-ip "$ADDRESS"
}

kube_proxy_healthy() { get http://127.0.0.1:10256/livez; }
kube_proxy_start() {
	mkdir -p "$STATE/kube-proxy"
	# iptables mode answers NodePorts on loopback; nftables mode does not.
	cat >"$STATE/kube-proxy/config.yaml" <<-END
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: iptables
		hostnameOverride: $NODE
		clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
		clusterCIDR: $POD_NET
		bindAddress: $ADDRESS
		healthzBindAddress: 127.0.0.1:10256
		metricsBindAddress: 127.0.0.1:10249
		nodePortAddresses: [127.0.0.0/8, $ADDRESS/32]
		iptables: {localhostNodePorts: true, minSyncPeriod: 100ms}
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	END
	start kube-proxy "$KUBERNETES/kube-proxy" --config "$STATE/kube-proxy/config.yaml"
}

coredns_healthy() { get http://127.0.0.1:8181/ready; }
coredns_start() {
	mkdir -p "$STATE/coredns"
	# Any other name does not exist, said at once; without the last block the
	# answer would be a failure, which resolvers try again and again.
	cat >"$STATE/coredns/Corefile" <<-END
		cluster.local:53 in-addr.arpa:53 {
			bind $ADDRESS
			errors
			ready 127.0.0.1:8181
			kubernetes cluster.local in-addr.arpa {
				kubeconfig $ADMIN
			}
		}
		testbed:53 {
			bind $ADDRESS
			errors
			hosts {
				$ADDRESS git.testbed registry.testbed
			}
		}
		.:53 {
			bind $ADDRESS
			errors
			template ANY ANY {
				rcode NXDOMAIN
			}
		}
	END
	start coredns "$BIN/coredns" -conf "$STATE/coredns/Corefile"
}

# A pod can be made once its namespace has an account for it.
cluster_usable() { api /api/v1/namespaces/default/serviceaccounts/default >/dev/null; }
