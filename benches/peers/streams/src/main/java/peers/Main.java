package peers;

import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The contender in Java: Kafka Streams with ONNX Runtime and Jackson, record by record as Streams works.
 *
 * <p>Environment: BROKERS, INPUT, OUTPUT, GROUP, MODEL (by matrix.py), FEATURES (30), FORMAT (named or array), WORKERS
 * (1): stream threads, DELIVERY (at_least_once or exactly_once).
 */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) throws Exception {
    Model model = new Model(System.getenv("MODEL"), Integer.parseInt(setting("FEATURES", "30")));
    try (KafkaStreams streams = new KafkaStreams(topology(model), configuration())) {
      // A thread that dies takes the process with it: a benchmark must not go on with fewer.
      streams.setUncaughtExceptionHandler(
          exception -> {
            exception.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
          });
      streams.start();
      Thread.currentThread().join();
    }
  }

  private static Topology topology(Model model) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(System.getenv("INPUT"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .process(() -> new Scoring(model))
        .to(
            System.getenv("OUTPUT"),
            Produced.with(Serdes.ByteArray(), Prediction.SERDE).withStreamPartitioner(Prediction.PARTITIONER));
    return builder.build();
  }

  private static Properties configuration() {
    boolean exactlyOnce = setting("DELIVERY", "at_least_once").equals("exactly_once");
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("GROUP"));
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("BROKERS"));
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, setting("WORKERS", "1"));
    properties.put(
        StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
        exactlyOnce ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
    // As often as weir commits. 100 ms is also Streams' own default for exactly once; for at least once that is 30 s.
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, exactlyOnce ? 100 : 1000);
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    // weir's; Streams waits up to 100 ms for a batch of 16 KiB.
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 1);
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 67_108_864);
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG), true);
    return properties;
  }

  static String setting(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null ? otherwise : value;
  }
}
