// Loads etcd through its own Go client, for `figures cluster`: so many connections, each of which asks, waits for the answer and asks again.
// Prints one line of JSON: operations per second, and the 50th and 99th percentile in microseconds.
//
// Built against Debian's golang-etcd-server-dev:
// GO111MODULE=off GOPATH=/usr/share/gocode go build -o etcd-load etcd-load.go
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcd-load:", err)
	os.Exit(1)
}

type load struct {
	endpoints  []string
	operation  string
	keys       int
	value      string
	begin, end time.Time
}

// Asks until the end; how long each answer took that was asked for after the beginning.
func (load *load) run(client *clientv3.Client, seed int64) []time.Duration {
	var times []time.Duration
	random := rand.New(rand.NewSource(seed))
	for {
		key := fmt.Sprintf("key:%012d", random.Intn(load.keys))
		asked := time.Now()
		if asked.After(load.end) {
			return times
		}
		var err error
		if load.operation == "get" {
			_, err = client.Get(context.Background(), key)
		} else {
			_, err = client.Put(context.Background(), key, load.value)
		}
		if err != nil {
			fail(err)
		}
		if asked.After(load.begin) {
			times = append(times, time.Since(asked))
		}
	}
}

// A client on a connection of its own, which is made when this returns.
func (load *load) connect(number int) *clientv3.Client {
	// Spread over the nodes, as those who configure it well would.
	endpoint := load.endpoints[number%len(load.endpoints)]
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		fail(err)
	}
	if _, err = client.Get(context.Background(), "nothing"); err != nil {
		fail(err)
	}
	return client
}

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "addresses, with commas between them")
	operation := flag.String("operation", "set", "set or get")
	connections := flag.Int("connections", 64, "how many ask at once, each on a connection of its own")
	keys := flag.Int("keys", 10000, "how many keys there are to choose from")
	bytes := flag.Int("bytes", 100, "bytes of a value")
	warmup := flag.Duration("warmup", time.Second, "of this nothing is counted")
	duration := flag.Duration("duration", 5*time.Second, "how long it is counted")
	flag.Parse()

	load := &load{endpoints: strings.Split(*endpoints, ","), operation: *operation, keys: *keys, value: strings.Repeat("x", *bytes)}
	clients := make([]*clientv3.Client, *connections)
	for number := range clients {
		clients[number] = load.connect(number)
		defer clients[number].Close()
	}
	load.begin = time.Now().Add(*warmup)
	load.end = load.begin.Add(*duration)
	seed := time.Now().UnixNano()
	times := make([][]time.Duration, len(clients))
	var group sync.WaitGroup
	for number, client := range clients {
		group.Add(1)
		go func(number int, client *clientv3.Client) {
			defer group.Done()
			times[number] = load.run(client, seed+int64(number))
		}(number, client)
	}
	group.Wait()
	report(times, *duration)
}

func report(times [][]time.Duration, duration time.Duration) {
	var sorted []time.Duration
	for _, of := range times {
		sorted = append(sorted, of...)
	}
	if len(sorted) == 0 {
		fail(fmt.Errorf("nothing was answered"))
	}
	sort.Slice(sorted, func(a, b int) bool { return sorted[a] < sorted[b] })
	at := func(percent int) int64 { return sorted[(len(sorted)-1)*percent/100].Microseconds() }
	fmt.Printf("{\"count\":%d,\"per_second\":%.1f,\"p50_us\":%d,\"p99_us\":%d}\n",
		len(sorted), float64(len(sorted))/duration.Seconds(), at(50), at(99))
}
