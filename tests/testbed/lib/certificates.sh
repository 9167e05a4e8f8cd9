# shellcheck shell=bash
# One certificate authority for all of the test bed, new with each `up` from
# nothing, and what it signs.

certificates_up() {
	[[ ! -e $PKI/done ]] || return 0
	mkdir -p "$PKI"
	printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$PKI/openssl.cnf"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -config "$PKI/openssl.cnf" \
		-subj '/CN=gitops-hooks test bed' -addext 'basicConstraints=critical,CA:TRUE' \
		-addext 'keyUsage=critical,keyCertSign,cRLSign' -addext 'subjectKeyIdentifier=hash' \
		-keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
	# For programs of the bed that speak TLS to each other and to others.
	cat /etc/ssl/certs/ca-certificates.crt "$PKI/ca.crt" >"$PKI/bundle.crt"

	certificate servers '/CN=servers.testbed' "$(names "$ADDRESS" 127.0.0.1 git.testbed registry.testbed localhost)"
	certificate apiserver '/CN=kube-apiserver' \
		"$(names "$ADDRESS" 127.0.0.1 "$API_SERVICE" kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost)"
	certificate kubelet '/CN=kubelet' "$(names "$ADDRESS" "$NODE")"
	certificate admin '/O=system:masters/CN=admin'
	# API server to kubelet: without it exec, logs and port-forward fail.
	certificate apiserver-kubelet '/O=system:masters/CN=kube-apiserver-kubelet'
	certificate node "/O=system:nodes/CN=system:node:$NODE"
	certificate controller-manager '/CN=system:kube-controller-manager'
	certificate scheduler '/CN=system:kube-scheduler'
	certificate proxy '/CN=system:kube-proxy'
	# Service account tokens.
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/accounts.key"
	openssl ec -in "$PKI/accounts.key" -pubout -out "$PKI/accounts.pub" 2>/dev/null

	kubeconfig admin "$ADMIN"
	local name
	for name in node controller-manager scheduler proxy; do kubeconfig "$name" "$PKI/$name.kubeconfig"; done
	touch "$PKI/done"
}

# certificate NAME SUBJECT [SERVER NAMES]: for a server when names are given.
certificate() {
	local use=(-addext 'extendedKeyUsage=clientAuth')
	[[ ! ${3:-} ]] || use=(-addext 'extendedKeyUsage=serverAuth' -addext "subjectAltName=$3")
	openssl req -x509 -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-days 3650 -config "$PKI/openssl.cnf" -subj "$2" -addext 'basicConstraints=critical,CA:FALSE' \
		-addext 'keyUsage=critical,digitalSignature' "${use[@]}" -keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>/dev/null
}

names() {
	local name list=
	for name; do
		if [[ $name =~ ^[0-9.]+$ ]]; then list+=",IP:$name"; else list+=",DNS:$name"; fi
	done
	printf '%s' "${list#,}"
}

# kubeconfig NAME FILE: self-contained, so that it can be copied or mounted.
kubeconfig() {
	(umask 077 && cat >"$2") <<-END
		apiVersion: v1
		kind: Config
		clusters:
		- name: testbed
		  cluster: {server: "$API_URL", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}
		users:
		- name: $1
		  user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}
		contexts:
		- name: testbed
		  context: {cluster: testbed, user: $1}
		current-context: testbed
	END
}
