package peers;

import java.util.Optional;
import java.util.Set;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.processor.StreamPartitioner;

/** An output record's value, and the partition that its input came from: it goes to the same. */
record Prediction(int partition, byte[] json) {
  static final Serde<Prediction> SERDE = Serdes.serdeFrom((topic, prediction) -> prediction.json(), unread());
  static final StreamPartitioner<byte[], Prediction> PARTITIONER =
      (topic, key, prediction, partitions) -> Optional.of(Set.of(prediction.partition()));

  private static Deserializer<Prediction> unread() {
    return (topic, bytes) -> {
      throw new UnsupportedOperationException("predictions are only written");
    };
  }
}
