// Command peers is how sarama and franz-go take part in `cargo xtask bench`. It runs one client once and prints one
// JSON line, or for a latency the microseconds of each message, a line each.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// job says what to run; every flag is required by the modes that use it.
type job struct {
	brokers    []string
	topic      string
	partitions int
	messages   int
	size       int
	rate       int
}

// result is what a run prints.
type result struct {
	Seconds  float64 `json:"seconds"`
	Messages int     `json:"messages"`
}

var modes = map[string]func(job) error{
	"sarama-async":    saramaAsync,
	"sarama-sync":     saramaSync,
	"sarama-consumer": saramaConsumer,
	"sarama-latency":  saramaLatency,
	"franz-producer":  franzProducer,
	"franz-consumer":  franzConsumer,
	"franz-latency":   franzLatency,
	"versions":        versions,
}

func main() {
	var j job
	brokers := flag.String("brokers", "", "HOST:PORT,...")
	flag.StringVar(&j.topic, "topic", "", "topic")
	flag.IntVar(&j.partitions, "partitions", 0, "number of partitions")
	flag.IntVar(&j.messages, "messages", 0, "number of messages")
	flag.IntVar(&j.size, "size", 0, "size of a value in bytes")
	flag.IntVar(&j.rate, "rate", 0, "latency: messages per second")
	flag.Parse()
	j.brokers = strings.Split(*brokers, ",")
	run, known := modes[flag.Arg(0)]
	if !known {
		fmt.Fprintf(os.Stderr, "peers: no mode %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(j); err != nil {
		fmt.Fprintf(os.Stderr, "peers: %s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}
}

// versions prints the versions of the two libraries, as they are linked.
func versions(job) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("the program has no build information")
	}
	found := map[string]string{"go": info.GoVersion}
	for _, dep := range info.Deps {
		if slices.Contains([]string{"github.com/IBM/sarama", "github.com/twmb/franz-go"}, dep.Path) {
			found[dep.Path[strings.LastIndex(dep.Path, "/")+1:]] = dep.Version
		}
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func (j job) print(begin time.Time) error {
	return json.NewEncoder(os.Stdout).Encode(result{time.Since(begin).Seconds(), j.messages})
}

// value is the payload of every message of a throughput run.
func (j job) value() []byte {
	value := make([]byte, j.size)
	for at := range value {
		value[at] = 'a' + byte(at%26)
	}
	return value
}

// paced calls send once for each message with the time at which it was due. A late loop does not move that time.
func (j job) paced(send func(at int, due time.Time)) {
	begin := time.Now()
	for sent := 0; sent < j.messages; {
		due := min(int(time.Since(begin).Seconds()*float64(j.rate)), j.messages)
		for ; sent < due; sent++ {
			send(sent, begin.Add(time.Duration(sent)*time.Second/time.Duration(j.rate)))
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// stamped is a value that carries the time at which it was due.
func (j job) stamped(due time.Time) []byte {
	value := make([]byte, j.size)
	binary.LittleEndian.PutUint64(value, uint64(due.UnixNano()))
	return value
}

// age is how many microseconds ago a stamped value was due.
func age(value []byte) int64 {
	due := time.Unix(0, int64(binary.LittleEndian.Uint64(value)))
	return max(time.Since(due).Microseconds(), 0)
}

func printAges(ages []int64) error {
	out := bufio.NewWriter(os.Stdout)
	for _, age := range ages {
		fmt.Fprintln(out, age)
	}
	return out.Flush()
}
