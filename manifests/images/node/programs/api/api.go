// Package api speaks to Kubernetes' API server as far as the node's programs
// need it, with the pod's own service account. client-go would do it too, in
// fifty megabytes for every node to unpack and run.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	account = "/var/run/secrets/kubernetes.io/serviceaccount"
	kubelet = "/etc/kubernetes/kubelet.conf"
	short   = 500 * time.Millisecond
	long    = 5 * time.Second
)

// Status is an answer other than the one hoped for.
type Status struct {
	Code int
	Text string
}

func (s Status) Error() string { return "the API server answers " + s.Text }

// Is tells whether err is an answer with this code.
func Is(err error, code int) bool {
	status, ok := err.(Status)
	return ok && status.Code == code
}

// Follow sends every new state of the objects at path, by namespace and name,
// and never gives up.
func Follow[T any](ctx context.Context, path string, out chan<- map[string]T) {
	pause := short
	for ctx.Err() == nil {
		started := time.Now()
		err := watch(ctx, path, out)
		if time.Since(started) > time.Minute {
			pause = short
		}
		if err != nil && ctx.Err() == nil {
			log.Printf("%s: %v; again in %s", path, err, pause)
			time.Sleep(pause)
			pause = min(2*pause, long)
		}
	}
}

// meta is what names an object.
type meta struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

func decode[T any](raw json.RawMessage) (string, T, error) {
	var object T
	var named meta
	if err := json.Unmarshal(raw, &named); err != nil {
		return "", object, err
	}
	name := strings.TrimPrefix(named.Metadata.Namespace+"/"+named.Metadata.Name, "/")
	return name, object, json.Unmarshal(raw, &object)
}

// watch lists the objects and follows them until the server ends the stream.
func watch[T any](ctx context.Context, path string, out chan<- map[string]T) error {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := Get(ctx, path, &list); err != nil {
		return err
	}
	objects := map[string]T{}
	for _, raw := range list.Items {
		name, object, err := decode[T](raw)
		if err != nil {
			return err
		}
		objects[name] = object
	}
	send(ctx, out, objects)

	// The server ends the stream; should it die instead, the deadline does.
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	answer, err := ask(limited, "GET", path+"?"+url.Values{
		"watch":           {"true"},
		"resourceVersion": {list.Metadata.ResourceVersion},
		"timeoutSeconds":  {"90"},
	}.Encode(), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for events := json.NewDecoder(answer.Body); ; {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&event); err != nil {
			// The end of the stream and a cut one are the same to us: list again.
			return nil
		}
		name, object, err := decode[T](event.Object)
		if err != nil {
			return err
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			objects[name] = object
		case "DELETED":
			delete(objects, name)
		default:
			return nil
		}
		send(ctx, out, objects)
	}
}

func send[T any](ctx context.Context, out chan<- map[string]T, objects map[string]T) {
	snapshot := make(map[string]T, len(objects))
	for name, object := range objects {
		snapshot[name] = object
	}
	select {
	case out <- snapshot:
	case <-ctx.Done():
	}
}

// Get reads the object at path.
func Get(ctx context.Context, path string, object any) error {
	return once(ctx, "GET", path, nil, object)
}

// Create posts an object to the collection at path.
func Create(ctx context.Context, path string, object any) error {
	return once(ctx, "POST", path, object, nil)
}

// Delete removes the object at path if it is still the one with this uid.
func Delete(ctx context.Context, path, uid string) error {
	return once(ctx, "DELETE", path, map[string]any{"preconditions": map[string]any{"uid": uid}}, nil)
}

func once(ctx context.Context, method, path string, in, out any) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := ask(limited, method, path, in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if out == nil {
		// Read to its end, or the connection cannot be used again.
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// server is where the node's kubelet finds the API server: the service's
// address works only once kube-proxy does.
func server() (string, error) {
	text, err := os.ReadFile(kubelet)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), "server:"); ok {
			return strings.TrimSpace(address), nil
		}
	}
	return "", fmt.Errorf("%s names no server", kubelet)
}

func ask(ctx context.Context, method, path string, object any) (*http.Response, error) {
	server, err := server()
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if object != nil {
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, server+path, body)
	if err != nil {
		return nil, err
	}
	// Read anew each time: the kubelet renews the token.
	token, err := os.ReadFile(account + "/token")
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	request.Header.Set("Content-Type", "application/json")
	client, err := shared()
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 2000))
		return nil, Status{answer.StatusCode, fmt.Sprintf("%s: %s", answer.Status, bytes.TrimSpace(said))}
	}
	return answer, nil
}

var shared = sync.OnceValues(func() (*http.Client, error) {
	authority, err := os.ReadFile(account + "/ca.crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s/ca.crt", account)
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool},
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     30 * time.Second,
	}}, nil
})
