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

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "addresses, with commas between them")
	operation := flag.String("operation", "set", "set or get")
	connections := flag.Int("connections", 64, "how many ask at once, each on a connection of its own")
	keys := flag.Int("keys", 100000, "how many keys there are to choose from")
	bytes := flag.Int("bytes", 100, "bytes of a value")
	warmup := flag.Duration("warmup", time.Second, "of this nothing is counted")
	duration := flag.Duration("duration", 5*time.Second, "how long it is counted")
	flag.Parse()

	all := strings.Split(*endpoints, ",")
	value := strings.Repeat("x", *bytes)
	begin := time.Now().Add(*warmup)
	end := begin.Add(*duration)
	times := make([][]time.Duration, *connections)
	var group sync.WaitGroup
	for number := 0; number < *connections; number++ {
		// Spread over the nodes, as those who configure it well would.
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{all[number%len(all)]}, DialTimeout: 10 * time.Second})
		if err != nil {
			fail(err)
		}
		defer client.Close()
		group.Add(1)
		go func(number int) {
			defer group.Done()
			random := rand.New(rand.NewSource(int64(number)))
			for {
				key := fmt.Sprintf("key:%012d", random.Intn(*keys))
				asked := time.Now()
				if asked.After(end) {
					return
				}
				var err error
				if *operation == "get" {
					_, err = client.Get(context.Background(), key)
				} else {
					_, err = client.Put(context.Background(), key, value)
				}
				if err != nil {
					fail(err)
				}
				if asked.After(begin) {
					times[number] = append(times[number], time.Since(asked))
				}
			}
		}(number)
	}
	group.Wait()

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
