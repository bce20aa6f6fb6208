package main

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
)

func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Cases []struct {
			Name, Secret, Method, Path string
			Valid                      bool
			NowS                       int64 `json:"now_s"`
			Headers                    map[string]string
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, c := range vectors.Cases {
		request := &http.Request{Method: c.Method, RequestURI: c.Path, Header: http.Header{}}
		for name, value := range c.Headers {
			request.Header.Set(name, value)
		}
		if fromPontage(request, c.Secret, c.NowS) != c.Valid {
			t.Errorf("%s: expected %v", c.Name, c.Valid)
		}
	}
}
