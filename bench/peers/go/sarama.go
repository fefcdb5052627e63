package main

import (
	"time"

	"github.com/IBM/sarama"
)

// saramaConfig are the settings that all modes share. Idempotence allows sarama one request in flight.
func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_3_2_0
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Compression = sarama.CompressionNone
	// Batches cannot be larger than what waits for them.
	config.ChannelBufferSize = 65536
	config.Producer.Return.Successes = true
	config.Producer.Return.Errors = true
	config.Consumer.Return.Errors = true
	return config
}

func saramaAsync(j job) error {
	config := saramaConfig()
	// What the others call linger.
	config.Producer.Flush.Frequency = 50 * time.Millisecond
	config.Producer.Flush.MaxMessages = 50_000
	producer, err := sarama.NewAsyncProducer(j.brokers, config)
	if err != nil {
		return err
	}
	value := sarama.ByteEncoder(j.value())
	begin := time.Now()
	go func() {
		for range j.messages {
			producer.Input() <- &sarama.ProducerMessage{Topic: j.topic, Value: value}
		}
	}()
	for range j.messages {
		select {
		case <-producer.Successes():
		case err := <-producer.Errors():
			return err
		}
	}
	if err := j.print(begin); err != nil {
		return err
	}
	return producer.Close()
}

func saramaSync(j job) error {
	producer, err := sarama.NewSyncProducer(j.brokers, saramaConfig())
	if err != nil {
		return err
	}
	value := sarama.ByteEncoder(j.value())
	begin := time.Now()
	for range j.messages {
		if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: j.topic, Value: value}); err != nil {
			return err
		}
	}
	if err := j.print(begin); err != nil {
		return err
	}
	return producer.Close()
}

// saramaRead calls each with every message of all partitions, from one goroutine, until it has seen them all.
func saramaRead(j job, each func(*sarama.ConsumerMessage)) error {
	consumer, err := sarama.NewConsumer(j.brokers, saramaConfig())
	if err != nil {
		return err
	}
	messages, failed := make(chan *sarama.ConsumerMessage, 4096), make(chan error, j.partitions)
	for partition := range j.partitions {
		part, err := consumer.ConsumePartition(j.topic, int32(partition), sarama.OffsetOldest)
		if err != nil {
			return err
		}
		go func() {
			for message := range part.Messages() {
				messages <- message
			}
		}()
		go func() {
			for err := range part.Errors() {
				failed <- err
			}
		}()
	}
	for range j.messages {
		select {
		case message := <-messages:
			each(message)
		case err := <-failed:
			return err
		}
	}
	return nil
}

// saramaConsumer counts in one goroutine per partition, which is what partition consumers are for.
func saramaConsumer(j job) error {
	consumer, err := sarama.NewConsumer(j.brokers, saramaConfig())
	if err != nil {
		return err
	}
	type share struct {
		begin time.Time
		count int
		err   error
	}
	client, err := sarama.NewClient(j.brokers, saramaConfig())
	if err != nil {
		return err
	}
	shares := make(chan share, j.partitions)
	for partition := range j.partitions {
		high, err := client.GetOffset(j.topic, int32(partition), sarama.OffsetNewest)
		if err != nil {
			return err
		}
		if high == 0 {
			shares <- share{begin: time.Now()}
			continue
		}
		part, err := consumer.ConsumePartition(j.topic, int32(partition), sarama.OffsetOldest)
		if err != nil {
			return err
		}
		go func() {
			var mine share
			for {
				select {
				case message := <-part.Messages():
					if mine.count == 0 {
						mine.begin = time.Now()
					}
					mine.count++
					if message.Offset+1 >= high {
						shares <- mine
						return
					}
				case err := <-part.Errors():
					shares <- share{err: err}
					return
				}
			}
		}()
	}
	begin, seen := time.Now(), 0
	for range j.partitions {
		share := <-shares
		if share.err != nil {
			return share.err
		}
		if share.begin.Before(begin) {
			begin = share.begin
		}
		seen += share.count
	}
	j.messages = seen
	return j.print(begin)
}

func saramaLatency(j job) error {
	producer, err := sarama.NewAsyncProducer(j.brokers, saramaConfig())
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() {
		for range producer.Successes() {
		}
	}()
	go func() {
		for err := range producer.Errors() {
			select {
			case failed <- err:
			default:
			}
		}
	}()
	go j.paced(func(_ int, due time.Time) {
		producer.Input() <- &sarama.ProducerMessage{Topic: j.topic, Value: sarama.ByteEncoder(j.stamped(due))}
	})
	ages := make([]int64, 0, j.messages)
	read := make(chan error, 1)
	go func() {
		read <- saramaRead(j, func(message *sarama.ConsumerMessage) { ages = append(ages, age(message.Value)) })
	}()
	select {
	case err := <-failed:
		return err
	case err := <-read:
		if err != nil {
			return err
		}
	}
	return printAges(ages)
}
