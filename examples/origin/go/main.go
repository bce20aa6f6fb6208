// An origin that serves only what pontage has let through. Run: PONTAGE_TRUST_SECRET=... PORT=3000 go run main.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var signature = regexp.MustCompile(`^t=([0-9]{1,12}),v1=([0-9a-f]{64})$`)

// fromPontage tells whether pontage wrote these X-Pay-* headers for this very request, at most a minute ago.
func fromPontage(r *http.Request, secret string, nowS int64) bool {
	found := signature.FindStringSubmatch(r.Header.Get("X-Pay-Signature"))
	if found == nil {
		return false
	}
	t, _ := strconv.ParseInt(found[1], 10, 64)
	if nowS-t > 60 || t-nowS > 60 {
		return false
	}
	message := []string{found[1], r.Method, r.RequestURI}
	for _, name := range []string{"Verified", "From", "Amount", "Settlement", "Tab"} {
		message = append(message, r.Header.Get("X-Pay-"+name))
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(message, "\n")))
	claimed, _ := hex.DecodeString(found[2])
	return hmac.Equal(mac.Sum(nil), claimed)
}

func main() {
	secret := os.Getenv("PONTAGE_TRUST_SECRET") // `proxy.trust_secret` of pontage's configuration
	if secret == "" {
		log.Fatal("PONTAGE_TRUST_SECRET is not set")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// `free` and `false` are signed as well: that pontage spoke does not mean that somebody paid.
		verified := r.Header.Get("X-Pay-Verified")
		paid := verified == "true" || verified == "allowlisted" || verified == "paid-before"
		if !paid || !fromPontage(r, secret, time.Now().Unix()) {
			http.Error(w, "not from pontage", http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, "served")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %d\n", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}
