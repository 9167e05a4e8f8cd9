// Git over HTTPS with a password, in front of git's own `git http-backend`.
// Everything it needs to know comes in by flags; the password by file, so that
// no process list shows it.
package main

import (
	"crypto/subtle"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"strings"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8443", "address")
	root := flag.String("root", "", "folder of bare repositories")
	backend := flag.String("backend", "", "git's http-backend program")
	cert := flag.String("cert", "", "certificate file")
	key := flag.String("key", "", "private key file")
	user := flag.String("user", "team", "the one user")
	passwordFile := flag.String("password-file", "", "file with the user's password")
	flag.Parse()

	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		log.Fatal(err)
	}
	git := &cgi.Handler{
		Path: *backend,
		Env: []string{
			"GIT_PROJECT_ROOT=" + *root,
			"GIT_HTTP_EXPORT_ALL=1",
			// http-backend lets an authenticated user push, without http.receivepack.
			"REMOTE_USER=" + *user,
		},
	}
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if !equal(u, *user) || !equal(p, strings.TrimSpace(string(password))) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "a user and a password are needed", http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/healthy" {
			return
		}
		if err := withLength(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		defer r.Body.Close()
		git.ServeHTTP(w, r)
	})
	log.Fatal(http.ListenAndServeTLS(*listen, *cert, *key, server))
}

func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// withLength gives a request a Content-Length: git sends a push above 1 MB in
// chunks, and CGI has no word for those.
func withLength(r *http.Request) error {
	if r.ContentLength >= 0 {
		return nil
	}
	body, err := os.CreateTemp("", "push")
	if err != nil {
		return err
	}
	os.Remove(body.Name())
	size, err := io.Copy(body, r.Body)
	if err == nil {
		_, err = body.Seek(0, io.SeekStart)
	}
	r.Body, r.ContentLength, r.TransferEncoding = body, size, nil
	return err
}
