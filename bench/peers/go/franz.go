package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzProducing are the settings of the producer: idempotence and acks=all are franz-go's defaults.
func franzProducing(j job, linger time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(j.brokers...),
		kgo.DefaultProduceTopic(j.topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(500_000),
		kgo.DisableClientMetrics(),
	}
}

func franzProducer(j job) error {
	client, err := kgo.NewClient(franzProducing(j, 50*time.Millisecond)...)
	if err != nil {
		return err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	ctx, value := context.Background(), j.value()
	begin := time.Now()
	for range j.messages {
		client.Produce(ctx, &kgo.Record{Value: value}, done)
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return j.print(begin)
}

func franzReading(j job) []kgo.Opt {
	offsets := make(map[int32]kgo.Offset)
	for partition := range j.partitions {
		offsets[int32(partition)] = kgo.NewOffset().AtStart()
	}
	return []kgo.Opt{
		kgo.SeedBrokers(j.brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{j.topic: offsets}),
		kgo.DisableClientMetrics(),
	}
}

func franzConsumer(j job) error {
	client, err := kgo.NewClient(franzReading(j)...)
	if err != nil {
		return err
	}
	defer client.Close()
	var begin time.Time
	for seen := 0; seen < j.messages; {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return err
		}
		if seen == 0 {
			begin = time.Now()
		}
		seen += fetches.NumRecords()
	}
	return j.print(begin)
}

func franzLatency(j job) error {
	reader, err := kgo.NewClient(franzReading(j)...)
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := kgo.NewClient(franzProducing(j, 0)...)
	if err != nil {
		return err
	}
	defer writer.Close()
	ctx := context.Background()
	failed := make(chan error, 1)
	go j.paced(func(_ int, due time.Time) {
		writer.Produce(ctx, &kgo.Record{Value: j.stamped(due)}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	})
	ages := make([]int64, 0, j.messages)
	for len(ages) < j.messages {
		select {
		case err := <-failed:
			return err
		default:
		}
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) { ages = append(ages, age(record.Value)) })
	}
	return printAges(ages)
}
