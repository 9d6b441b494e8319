// Requests by Go's own client, over HTTP/1.1 and HTTP/2, twice each: the second time a new connection resumes the session.
// Arguments: the URL, the file of the roots. Prints a line of JSON for each: what was agreed on, and the status.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, http2 := range []bool{false, true} {
		config := &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		if !http2 {
			config.NextProtos = []string{"http/1.1"}
		}
		for range 2 {
			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
			response, err := (&http.Client{Transport: transport}).Get(os.Args[1])
			check(err)
			_, err = io.ReadAll(response.Body)
			check(err)
			check(response.Body.Close())
			transport.CloseIdleConnections()
			check(json.NewEncoder(os.Stdout).Encode(map[string]any{
				"protocol": tls.VersionName(response.TLS.Version),
				"alpn":     response.TLS.NegotiatedProtocol,
				"group":    response.TLS.CurveID.String(),
				"resumed":  response.TLS.DidResume,
				"status":   response.StatusCode,
			}))
		}
	}
}
