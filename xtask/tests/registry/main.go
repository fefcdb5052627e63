// An image registry on loopback for tests, with the faults of real ones. Its
// first line on standard output is its address. It ends on SIGTERM, and when
// its standard input ends, so that it does not outlive the test.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`ADDRESS` to listen on; port 0 means any free port")
	dir := flag.String("dir", "", "`FOLDER` for blobs, instead of memory")
	delay := flag.Duration("delay", 0, "delay before the first byte of each fetched blob")
	fail := flag.String("fail", "", "answer 500 to fetches of manifests and blobs whose path matches this `PATTERN`")
	stall := flag.Bool("stall", false, "accept connections, but never answer")
	flag.Parse()
	pattern, err := regexp.Compile(*fail)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		os.Exit(0)
	}()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())

	if *stall {
		log.Fatal(hold(listener))
	}
	// Otherwise it logs a line for every request.
	options := []registry.Option{registry.Logger(log.New(io.Discard, "", 0))}
	if *dir != "" {
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(*dir)))
	}
	images := registry.New(options...)
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blob := strings.Contains(r.URL.Path, "/blobs/")
		fetched := r.Method == http.MethodGet && (blob || strings.Contains(r.URL.Path, "/manifests/"))
		switch {
		case fetched && *fail != "" && pattern.MatchString(r.URL.Path):
			http.Error(w, "this registry is configured to fail", http.StatusInternalServerError)
		case fetched && blob:
			images.ServeHTTP(&slow{ResponseWriter: w, request: r, delay: *delay}, r)
		default:
			images.ServeHTTP(w, r)
		}
	})))
}

// hold keeps every connection open and never answers.
func hold(listener net.Listener) error {
	var held []net.Conn
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		held = append(held, connection)
	}
}

// slow sends the headers of a response at once and its body later.
type slow struct {
	http.ResponseWriter
	request *http.Request
	delay   time.Duration
}

func (s *slow) Write(body []byte) (int, error) {
	if s.delay > 0 {
		http.NewResponseController(s.ResponseWriter).Flush()
		select {
		case <-time.After(s.delay):
		case <-s.request.Context().Done():
		}
		s.delay = 0
	}
	return s.ResponseWriter.Write(body)
}
